import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'dotenv';
import { envLine, parseEnv, readEnvironment, withEntry } from '../../lib/env-file.ts';
import { hasCommonForm, hostile, randomHostile } from '../server/hostile.ts';
import { tempDir } from './kit.ts';

const values = [...hostile, ...randomHostile(4000, 12)];
const textOf = (all: readonly string[]) => all.map((value, i) => `${envLine(`V${i}`, value)}\n`).join('');

test('a value is written in a form that dotenv and Compose read alike, on one line where there is such a form', () => {
  for (const [value, written] of [
    ['', ''],
    ['plain', 'plain'],
    ['s3://bloaty-backups-x7/?a=b', "'s3://bloaty-backups-x7/?a=b'"],
    ['postgresql://a:b%2F1@db:5432/x', 'postgresql://a:b%2F1@db:5432/x'],
    ['a$b"c#d\\e', `'a$b"c#d\\e'`],
    ["it's #1", `"it's #1"`],
    ['a\nb\r\n', '"a\\nb\\r\\n"'],
    ['{\n"a": "$b"\n}', `'{\n"a": "$b"\n}'`],
    [`it's 2" \\ 3`, `it's 2" \\ 3`],
    ['abcd\\', 'abcd\\'],
    // These have no such form, and are written for Compose.
    [`it's "$1"`, `"it's \\"\\$1\\""`],
    [' abcd\\', '" abcd\\\\" #"'],
    ['"$a"\r', '"\\"\\$a\\"\\r"'],
    ['\'a\u2028"b', `"'a\u2028\\"b"`],
  ] as const)
    assert.equal(envLine('A', value), `A=${written}`);
});

test('what no environment can carry is refused by its name', () => {
  assert.throws(() => envLine('A', 'a\0b'), { message: 'A has a zero byte, which no environment can carry' });
  for (const name of ['', '1A', 'A-B', 'A B', 'A=B', 'Ä', 'A\n'])
    assert.throws(() => envLine(name, 'x'), {
      message: `"${name}" is not the name of an environment variable`,
    });
});

test('row 12: each of the 35 passwords is read back by Compose as it was written, and so are 4,000 random values', () => {
  assert.equal(hostile.length, 35);
  assert.deepEqual(Object.values(parseEnv(textOf(values))), values);
});

test('row 12: dotenv reads 34 of the 35 alike, and of the random ones all that have a common form', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, textOf(values));
  const { raw, composed, refused } = await readEnvironment([file], {});
  assert.deepEqual(Object.values(composed), values);
  const names = values.map((_, i) => `V${i}`);
  const alike = values.map((value, i) => raw[`V${i}`] === value);
  assert.deepEqual(
    [...refused.keys()],
    names.filter((_, i) => !alike[i]),
  );
  assert.equal(alike.slice(0, 35).filter(Boolean).length, 34);
  assert.deepEqual(
    values.filter((value, i) => hasCommonForm(value) !== alike[i]),
    [],
  );
});

/** A as Compose reads it. */
const readByCompose = (text: string) => parseEnv(text).A;

/** What is said of A behind the file's name; nothing where both read it alike. */
async function refusalOf(t: TestContext, text: string): Promise<[what: string, next: string]> {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, text);
  const { raw, composed, refused } = await readEnvironment([file], {});
  const refusal = refused.get('A');
  assert.equal(refusal === undefined, raw.A === composed.A);
  assert.equal(refusal?.exit ?? 2, 2);
  return [refusal?.message.replace(`--env-file ${file}: A `, '') ?? '', refusal?.next ?? ''];
}

for (const [text, dotenv, compose] of [
  // Read alike.
  ['A=', '', ''],
  ['A=x', 'x', 'x'],
  ['  A = x  ', 'x', 'x'],
  ['export A=x', 'x', 'x'],
  ['A: x', 'x', 'x'],
  ['A= "x" # c', 'x', 'x'],
  ["A='x' # it's", 'x', 'x'],
  ['A=a #b', 'a', 'a'],
  ['A=a b', 'a b', 'a b'],
  ["A='$x ${B} $$ #'", '$x ${B} $$ #', '$x ${B} $$ #'],
  ['A="a\\nb"', 'a\nb', 'a\nb'],
  ["A='a\nb'", 'a\nb', 'a\nb'],
  ['A=a\\nb', 'a\\nb', 'a\\nb'],
  ['A=a\\', 'a\\', 'a\\'],
  ['A=a"b\'c', 'a"b\'c', 'a"b\'c'],
  ['A=x\r\nB=y\r\n', 'x', 'x'],
  ['\uFEFFA=x', 'x', 'x'],
  ['A', undefined, undefined],
  ['# A=x', undefined, undefined],
  ['A=1\nA=2', '2', '2'],
  // Read in two ways.
  ['A="a\\"b"', 'a\\"b', 'a"b'],
  ['A="a\\\\b"', 'a\\\\b', 'a\\b'],
  ['A="a\\$b"', 'a\\$b', 'a$b'],
  ['A="a\\tb"', 'a\\tb', 'a\tb'],
  ['A="\\0101"', '\\0101', 'A'],
  ["A='it\\'s'", "it\\'s", "it's"],
  ['A=a#b', 'a', 'a#b'],
  ['A=#b', '', '#b'],
  ['A=a\t#b', 'a', 'a\t#b'],
  ['A=a$$b', 'a$$b', 'a$b'],
  ['B=b\nA=${B}', '${B}', 'b'],
  ['B=b\nA="$B"', '$B', 'b'],
  ['A=${B:-c}', '${B:-c}', 'c'],
  ['A=`x`', 'x', '`x`'],
  ['A="x" tail=', '"x" tail=', 'x'],
  ['A="x"B=y', '"x"B=y', 'x'],
  ['A="a\r\nb"', 'a\nb', 'a\r\nb'],
  ["A='a\\\\'\nB=b'", "a\\\\'\nB=b", 'a\\\\'],
  ["B='b\\\\'\nA=a'", undefined, "a'"],
  ['A:x', undefined, 'x'],
  ['A :x', undefined, 'x'],
] as const)
  test(`dotenv and Compose read ${JSON.stringify(text)} ${dotenv === compose ? 'alike' : 'in two ways: refused'}`, async (t) => {
    assert.deepEqual([parse(text).A, readByCompose(text)], [dotenv, compose]);
    const [what, next] = await refusalOf(t, text);
    assert.equal(what === '', dotenv === compose);
    const both = [dotenv, compose].filter((value) => value !== undefined);
    assert.deepEqual(
      both.length < 2 ? [] : both.filter((value) => value.length > 2 && what.includes(value)),
      [],
    );
    assert.equal(next === '', dotenv === compose);
  });

test('a refusal says how to write the value', async (t) => {
  const single = "put it in single quotes, with at most a comment after them: A='…'";
  for (const [text, what, next] of [
    ['A=a#b', 'has one value for dotenv and another for Docker Compose', single],
    ['A=a$$b', 'has one value for dotenv and another for Docker Compose', single],
    ['A:x', 'is set for Docker Compose, but not for dotenv', single],
    [
      'A="it\'s\\t1"',
      'has one value for dotenv and another for Docker Compose',
      'put it in double quotes, with \\n for a line end and no other backslash: A="…"',
    ],
    [
      'A="it\'s \\"it\\""',
      'has one value for dotenv and another for Docker Compose',
      'write it without quotes: A=…',
    ],
    [
      'A="it\'s \\"it\\" #1"',
      'has one value for dotenv and another for Docker Compose',
      'set it in the environment: no way of writing it in a file suits both',
    ],
    [
      'A=x/${B}/${C:-d}',
      'has one value for dotenv and another for Docker Compose',
      "write the value itself in place of the reference, or single quotes if the $ is meant literally: A='…'",
    ],
  ] as const)
    assert.deepEqual(await refusalOf(t, text), [what, next], text);
});

test('the file that is refused is the one that set the variable last; the environment is not checked', async (t) => {
  const folder = tempDir(t);
  const [one, two] = [join(folder, 'one.env'), join(folder, 'two.env')];
  writeFileSync(one, 'A=a#1\nB=b#1\nC=c\nD=d#1\nconstructor=x#1\n');
  writeFileSync(two, 'B=b\nC=c#2\n');
  const { raw, refused } = await readEnvironment([one, two], { D: 'environment' });
  assert.deepEqual(raw, { A: 'a', B: 'b', C: 'c', D: 'environment', constructor: 'x' });
  assert.deepEqual(
    [...refused].map(([name, { message }]) => [name, message.split(': ')[0]]),
    [
      ['A', `--env-file ${one}`],
      ['C', `--env-file ${two}`],
      ['constructor', `--env-file ${one}`],
    ],
  );
});

test('✗ sed -i .env: only the entry changes, and no line of another value is taken for it', () => {
  const before = "A='$x & | \\n'\n  COMPOSE_FILE=docker-compose.yml # c\n# end\n";
  const deployed = 'docker-compose.yml:.opsbook/deployed.yml';
  assert.equal(
    withEntry(before, 'COMPOSE_FILE', deployed),
    `A='$x & | \\n'\n  COMPOSE_FILE=${deployed}\n# end\n`,
  );
  const several = `COMPOSE_FILE=a.yml\nexport COMPOSE_FILE="b.yml" # c\nA='\nCOMPOSE_FILE=c.yml\n'\nCOMPOSE_FILE`;
  assert.equal(
    withEntry(several, 'COMPOSE_FILE', 'd.yml'),
    `COMPOSE_FILE=a.yml\nCOMPOSE_FILE=d.yml # c\nA='\nCOMPOSE_FILE=c.yml\n'\nCOMPOSE_FILE`,
  );
  assert.equal(withEntry('A=1', 'COMPOSE_FILE', 'b.yml'), 'A=1\nCOMPOSE_FILE=b.yml\n');
  assert.equal(withEntry('', 'COMPOSE_FILE', 'a #b.yml'), "COMPOSE_FILE='a #b.yml'\n");
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
