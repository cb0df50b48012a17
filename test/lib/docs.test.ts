import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'dotenv';
import { documents, sections } from '../../docs/generate.ts';
import { parseEnv } from '../../lib/env-file.ts';
import { Failure, Problems } from '../../lib/failure.ts';
import { resolveSettings } from '../../lib/settings.ts';

const root = dirname(dirname(import.meta.dirname));
const committed = (path: string) => readFileSync(join(root, path), 'utf8');
const scripts = globSync('scripts/*/*.ts', { cwd: root }).sort();
const found = await sections();
const all = found.flatMap(({ entries }) => entries.map(({ setting }) => setting));

for (const [path, text] of Object.entries(documents(found))) {
  test(`${path} says what the settings say (else: npm run docs)`, () => {
    assert.equal(committed(path), text);
  });
}

test('there are settings and scripts to speak of', () => {
  assert.ok(all.length > 10);
  assert.ok(scripts.length >= 6);
});

test('.env.example holds every setting once, and an example that survives being read back', () => {
  const uncommented = committed('.env.example').replaceAll(/^#(?=[A-Z_]+=)/gm, '');
  const examples = Object.fromEntries(all.map(({ name, example }) => [name, example]));
  assert.deepEqual(parseEnv(uncommented), examples);
  assert.deepEqual({ ...parse(uncommented) }, examples);
  assert.equal(new Set(all.map(({ name }) => name)).size, all.length);
});

test('every example is one that its own setting accepts', async () => {
  const raw = Object.fromEntries(all.map(({ name, example }) => [name, example]));
  const settings = Object.fromEntries(all.map((setting) => [setting.name, setting]));
  const error = await resolveSettings(settings, raw).catch((e: unknown) => e as Error);
  const problems = error instanceof Problems ? error.problems : error instanceof Failure ? [error] : [];
  // The example of a file is not there.
  assert.deepEqual(
    problems.map((p) => p.message).filter((message) => !/_FILE=.*ENOENT/.test(message)),
    [],
  );
});

test('every script has its row in docs/runbook.md, under the step that it names itself', () => {
  const rows = committed('docs/runbook.md')
    .split('\n')
    .filter((line) => line.startsWith('|'));
  for (const script of scripts) {
    const step = /step: '(.*)'/.exec(committed(script))?.[1];
    const named = rows.filter((row) => row.includes(script));
    assert.equal(named.length, 1, `rows with ${script}`);
    assert.equal(named[0]?.split('|')[1]?.trim(), step, script);
  }
});

test('every script that docs/runbook.md names exists', () => {
  for (const [named] of committed('docs/runbook.md').matchAll(/scripts\/[\w/-]+\.ts/g))
    assert.ok(scripts.includes(named), named);
});
