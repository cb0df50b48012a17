import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openHosts } from '../../../lib/hosts.ts';
import { tempDir } from '../kit.ts';

test('F29: a host that lets us in and runs nothing is given up', { timeout: 30_000 }, async (t) => {
  const bin = tempDir(t);
  writeFileSync(join(bin, 'ssh'), '#!/bin/sh\ncase $* in *"-O exit"*) exit 0 ;; esac\nexec sleep 100\n');
  chmodSync(join(bin, 'ssh'), 0o755);
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  t.after(() => (process.env.PATH = PATH));
  const settings = { TARGET: [{ kind: 'ssh', host: 'silent.test' } as const] };
  await assert.rejects(openHosts(settings as never, {}, false, 0.2), /silent\.test: true did not end within/);
});
