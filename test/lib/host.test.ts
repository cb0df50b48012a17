import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Secret } from '../../lib/secret.ts';
import { type Command, CommandFailure, cmd, localHost, quote, show } from '../../lib/shell.ts';
import { isAlive, tempDir, until } from './kit.ts';

const hostile = [
  ...[
    '',
    ' ',
    '-n',
    "it's",
    "''",
    '"',
    '\\',
    '$HOME',
    '$(id)',
    '`id`',
    '!!',
    '*',
    '~',
    '#',
    '&',
    ';',
    '|',
    '<',
    '(',
  ],
  ...[
    'a\nb',
    'a\tb',
    'a\rb',
    '\x1b[31m',
    'é',
    '日本',
    '=',
    'A=b',
    '{a,b}',
    '%s',
    "'\\''",
    "$'\\n'",
    'a b',
    '?',
  ],
];

for (const shell of ['dash', 'bash']) {
  test(`${shell} reads quoted words back as they were`, () => {
    const script = `printf '%s\\0' ${hostile.map(quote).join(' ')}`;
    const read = execFileSync(shell, ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
    assert.deepEqual(read, hostile);
  });
}

test('words that need no quotes get none', () => {
  for (const word of ['pg_dump', '--format=custom', '/opt/x', 's3://b/k', 'a@b:1,2%3+4'])
    assert.equal(quote(word), word);
});

test('a command is shown as one would type it, its secrets redacted', () => {
  const password = new Secret(`it's-a "secret"`);
  const psql = cmd`psql -c ${'select 1'} ${`password=it's-a "secret"`}`;
  const shown = show({ ...psql, env: { PGUSER: 'a b', PGPASSWORD: password } });
  assert.equal(shown, `PGUSER='a b' PGPASSWORD='[redacted]' psql -c 'select 1' 'password=[redacted]'`);
});

test('a command runs with its environment, directory and input, and gives what it wrote', async (t) => {
  const folder = tempDir(t);
  const command = cmd`sh -c ${'pwd; printf "$WORD-$KEY-"; cat'}`;
  const env = { WORD: 'a b', KEY: new Secret('open-now') };
  assert.equal(
    await localHost().run({ ...command, env, cwd: folder }, 'input'),
    `${folder}\na b-open-now-input`,
  );
});

test('output larger than a pipe, and input that is not read, are no trouble', async () => {
  const many = await localHost().run(cmd`head -c 1000000 /dev/zero`);
  assert.equal(many.length, 1_000_000);
  assert.equal(await localHost().run(cmd`true`, 'x'.repeat(1_000_000)), '');
});

for (const [what, argv, message, code] of [
  [
    'its exit code and last words',
    'echo fine; echo one >&2; echo last >&2; exit 3',
    'sh exited with 3: last',
    3,
  ],
  [
    'the line that names an error',
    'echo "ERROR: no table" >&2; echo hint >&2; exit 1',
    'sh exited with 1: ERROR: no table',
    1,
  ],
  ['its exit code where it said nothing', 'exit 4', 'sh exited with 4', 4],
  ['the signal that killed it', 'kill -9 $$', 'sh was killed by SIGKILL', null],
] as const) {
  test(`a command that fails is told with ${what}`, async () => {
    const error: unknown = await localHost()
      .run(cmd`sh -c ${argv}`)
      .catch((e: unknown) => e);
    assert.ok(error instanceof CommandFailure);
    assert.deepEqual([error.message, error.code], [message, code]);
    assert.ok(error.next?.startsWith('try it by hand: sh -c '));
  });
}

test('a command that cannot start is told with the reason', async (t) => {
  const folder = tempDir(t);
  const file = join(folder, 'file');
  writeFileSync(file, '#!/bin/sh\n');
  chmodSync(file, 0o600);
  const absent = join(folder, 'absent');
  const cases: Array<[Command, string]> = [
    [cmd`no-such-command`, 'no-such-command did not start: no-such-command: command not found'],
    [{ ...cmd`true`, cwd: absent }, `true did not start: ${absent} is not there to run it in`],
    [cmd`${file}`, `${file} did not start: ${file}: permission denied`],
  ];
  for (const [command, message] of cases)
    await assert.rejects(localHost().run(command), { message, exit: 1 });
});

test('what a command says of a secret is masked', async () => {
  const command = cmd`sh -c ${'echo "cannot log in with $KEY" >&2; exit 1'}`;
  const failing = localHost().run({ ...command, env: { KEY: new Secret('swordfish9') } });
  await assert.rejects(failing, { message: 'sh exited with 1: cannot log in with [redacted]' });
});

/** A command that writes its process id once it runs. */
const waiting = (pidFile: string, before = ''): Command =>
  cmd`sh -c ${`${before} echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 300`} sh ${pidFile}`;

test('an interruption ends the command, and is told when it has ended', async (t) => {
  const file = join(tempDir(t), 'pid');
  const interruption = new AbortController();
  const running = localHost({ signal: interruption.signal }).run(waiting(file));
  await until('it runs', () => existsSync(file));
  interruption.abort(new Error('SIGTERM'));
  await assert.rejects(running, { message: 'sh was killed by SIGTERM' });
  assert.equal(isAlive(Number(readFileSync(file, 'utf8'))), false);
});

test('a command that does not heed an interruption is killed', async (t) => {
  const file = join(tempDir(t), 'pid');
  const interruption = new AbortController();
  const running = localHost({ signal: interruption.signal, killAfterMs: 20 }).run(
    waiting(file, `trap '' TERM;`),
  );
  await until('it runs', () => existsSync(file));
  interruption.abort(new Error('SIGTERM'));
  await assert.rejects(running, { message: 'sh was killed by SIGKILL' });
});

test('after an interruption nothing starts, except for cleaning up', async () => {
  const heard: Command[] = [];
  const interruption = new AbortController();
  const host = localHost({ signal: interruption.signal, onStart: (command) => heard.push(command) });
  interruption.abort(new Error('SIGTERM'));
  await assert.rejects(host.run(cmd`true`), { message: 'SIGTERM' });
  assert.equal(await host.uninterrupted.run(cmd`echo cleaned`), 'cleaned\n');
  assert.deepEqual(heard, [cmd`echo cleaned`]);
});

test('many commands at once make no warning', async (t) => {
  const warnings: Error[] = [];
  const hear = (warning: Error) => void warnings.push(warning);
  process.on('warning', hear);
  t.after(() => process.off('warning', hear));
  const host = localHost({ signal: new AbortController().signal });
  await Promise.all(Array.from({ length: 12 }, () => host.run(cmd`true`)));
  await new Promise(setImmediate);
  assert.deepEqual(warnings, []);
});

test('F29: a command that may not take so long is ended, and said to have been', async () => {
  const sleep = localHost().run({ ...cmd`sleep 100`, withinS: 0.1 });
  await assert.rejects(sleep, /^CommandFailure: sleep did not end within /);
  assert.equal(await localHost().run({ ...cmd`echo ${'at once'}`, withinS: 60 }), 'at once\n');
});
