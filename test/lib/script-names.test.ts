import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { onlyDescribe } from '../../lib/script.ts';

const root = dirname(dirname(import.meta.dirname));

test('no two scripts are called alike: logs, locks and heartbeats go by the name', async () => {
  const names: string[] = [];
  onlyDescribe((name) => void names.push(name));
  const scripts = globSync('scripts/*/*.ts', { cwd: root });
  for (const script of scripts) await import(join(root, script));
  assert.equal(names.length, scripts.length);
  assert.deepEqual(names.toSorted(), [...new Set(names)].sort());
});
