import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
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

test('F3: every script honours TARGET, refuses another machine, or is told to do without a host', async () => {
  const kinds = { honours: [] as string[], refuses: [] as string[], without: [] as string[] };
  const scripts = globSync('scripts/*/*.ts', { cwd: root });
  for (const script of scripts) {
    onlyDescribe((_, { settings, targetless }) => {
      const kind = 'TARGET' in settings ? 'honours' : targetless ? 'without' : 'refuses';
      kinds[kind].push(script);
    });
    await import(`${join(root, script)}?F3`);
  }
  assert.deepEqual(
    kinds.refuses.sort(),
    scripts.filter((script) => script.startsWith('scripts/backup/')).sort(),
  );
  assert.deepEqual(kinds.without.map((script) => basename(script, '.ts')).sort(), [
    'build-image',
    'release',
    'sync-assets',
    'validate-local',
  ]);
});
