import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { envLine, parseEnv } from '../../lib/env-file.ts';
import { readEnvironment } from '../../lib/environment.ts';
import { hostile, randomHostile } from '../server/hostile.ts';
import { tempDir } from './kit.ts';

const values = [...hostile, ...Array.from({ length: 300 }, randomHostile)];

test('a value is written in double quotes, with escapes and on one line', () => {
  assert.equal(envLine('A', 'plain'), 'A="plain"');
  assert.equal(envLine('A', 'a\\b"c$d`e\nf\rg'), 'A="a\\\\b\\"c\\$d`e\\nf\\rg"');
});

test('what no environment can carry is refused by its name', () => {
  assert.throws(() => envLine('A', 'a\0b'), { message: 'A has a zero byte, which no environment can carry' });
  for (const name of ['', '1A', 'A-B', 'A B', 'A=B', 'Ä', 'A\n'])
    assert.throws(() => envLine(name, 'x'), {
      message: `"${name}" is no name of an environment variable`,
    });
});

test('row 12: each of the 35 passwords is read back as it was written, and so are random ones', () => {
  assert.equal(hostile.length, 35);
  const text = values.map((value, i) => `${envLine(`V${i}`, value)}\n`).join('');
  assert.equal(text.split('\n').length, values.length + 1);
  assert.deepEqual(Object.values(parseEnv(text)), values);
});

test('row 12: the scripts read the same passwords from their env file', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, values.map((value, i) => `${envLine(`V${i}`, value)}\n`).join(''));
  assert.deepEqual(Object.values(await readEnvironment([file], {})), values);
});

test('names are replaced by the environment first, then by an earlier line, then by an earlier file', () => {
  const text = 'A=a\nB="${A}${X}${Y}"\n';
  assert.equal(parseEnv(text, { X: 'x' }, { Y: 'y', A: 'old' }).B, 'axy');
  assert.equal(parseEnv(text, { A: 'environment' }).B, 'environment');
});

test('a line that Compose refuses is refused by its number, without its text', () => {
  for (const [line, message] of [
    ["A='hush", `line 3: a ' is not closed`],
    ['A="hush', `line 3: a " is not closed`],
    ['PASS WORD=hush', 'line 3: is not NAME=value'],
    ['A%=hush', 'line 3: is not NAME=value'],
    ['A=${hush', 'line 3: has "${" that is no ${NAME}: write $${, or use single quotes'],
    ['A=${HUSH:?need}', 'line 3: needs HUSH, which is not set'],
  ] as const)
    assert.throws(() => parseEnv(`# first\n\n${line}\nB=b\n`), { message }, line);
});

test('an env file that cannot be understood is a matter of usage, and names the line', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, 'A=1\nB="hush-hush\n');
  const message = `--env-file ${file}: line 2: a " is not closed`;
  await assert.rejects(readEnvironment([file], {}), { message, exit: 2 });
});

test('A7: names that every object has are names like others', () => {
  const read = parseEnv('A=${constructor}x\n__proto__=1\nB=${__proto__}${toString:-d}\n', {}, { C: '2' });
  assert.deepEqual(Object.entries(read), [
    ['C', '2'],
    ['A', 'x'],
    ['__proto__', '1'],
    ['B', '1d'],
  ]);
});
