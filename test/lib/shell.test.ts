import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import {
  type Command,
  CommandFailure,
  cmd,
  quote,
  secretsOf,
  shellText,
  show,
  wordsOf,
} from '../../lib/command.ts';
import { localHost } from '../../lib/hosts.ts';
import { Secret } from '../../lib/secret.ts';
import { isAlive, tempDir, until } from './kit.ts';

// biome-ignore format: a word a line says no more
const hostile = [
  '', ' ', '-n', "it's", "''", '"', '\\', '$HOME', '$(id)', '`id`', '!!', '*', '~', '#', '&', ';', '|', '<', '(',
  'a\nb', 'a\tb', 'a\rb', '\x1b[31m', 'é', '日本', '=', 'A=b', '{a,b}', '%s', "'\\''", "$'\\n'", 'a b', '?',
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

test('more text than the kernel takes is refused with its reason', async () => {
  await assert.rejects(
    localHost().run(cmd`echo ${'x'.repeat(140_000)}`),
    /^CommandFailure: echo did not start: .*E2BIG/,
  );
});

test('a folder that is a link is not called by the name of the link', async (t) => {
  const folder = tempDir(t);
  symlinkSync(folder, `${folder}-link`);
  t.after(() => rmSync(`${folder}-link`));
  assert.equal(await localHost().run({ ...cmd`sh -c ${'printf %s "$PWD"'}`, cwd: `${folder}-link` }), folder);
});

test('what a script of a shell cannot find is named, not the shell', async () => {
  await assert.rejects(
    localHost().run(cmd`sh -c ${'no-such-tool'} sh`),
    /^CommandFailure: sh exited with 127: .*no-such-tool/,
  );
  await assert.rejects(
    localHost().run(cmd`sh -c ${'exec /etc/passwd'} sh`),
    /^CommandFailure: sh exited with 126: .*passwd/,
  );
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

const sh = (script: string) => cmd`sh -c ${script}`;

test('a command that has a completion marker ended well only when its marker was heard', async () => {
  assert.equal(await localHost().run({ ...sh('echo out; echo done >&2'), marker: 'done' }), 'out\n');
  await assert.rejects(
    localHost().run({ ...sh('echo half of it'), marker: 'done' }),
    /sh ended before its command did/,
  );
  await assert.rejects(
    localHost().run({ ...sh('echo done >&2; exit 3'), marker: 'done' }),
    /sh exited with 3/,
  );
});

/** What a POSIX shell makes of a command's text. */
const said = (command: Command) => execFileSync('sh', ['-c', shellText(command)], { encoding: 'utf8' });

test('every word reaches the command as it is', () => {
  const command: Command = cmd`printf ${'%s\\0'} ${hostile}`;
  assert.deepEqual(said(command).split('\0').slice(0, -1), hostile);
});

test('a variable has its value, whatever is in it, and the folder is the one told', () => {
  for (const value of hostile)
    assert.equal(said({ ...cmd`sh -c ${'printf %s "$V"'}`, env: { V: value } }), value);
  assert.equal(said({ ...cmd`pwd`, cwd: '/usr/share' }), '/usr/share\n');
});

test('a secret variable is not in the text', () => {
  const command: Command = { ...cmd`true`, env: { OPEN: 'seen', HIDDEN: new Secret('swordfish') } };
  assert.match(shellText(command), /OPEN=seen/);
  assert.doesNotMatch(shellText(command), /swordfish|HIDDEN/);
  assert.deepEqual(
    secretsOf(command).map(([name]) => name),
    ['HIDDEN'],
  );
});

test('a folder that is not there is named', () => {
  assert.throws(() => said({ ...cmd`pwd`, cwd: "/no'where" }), /\/no'where is not there to run it in/);
});

test('a secret, undefined, an object and a promise are no words of a command', () => {
  for (const [word, problem] of [
    [new Secret('swordfish'), 'a secret is among the words of a command'],
    [undefined, 'undefined is among the words of a command'],
    [null, 'null is among the words of a command'],
    [{}, '[object Object] is among the words of a command'],
    [Promise.resolve('x'), '[object Promise] is among the words of a command'],
    [['a', new Secret('swordfish')], 'a secret is among the words of a command'],
  ] as const)
    assert.throws(() => cmd`echo ${word as string}`, { name: 'TypeError', message: problem });
});

test('a list is a word each, an empty one none, and a command stands for its own words', () => {
  assert.equal(cmd`docker stop ${['a', 'b c']} ${[]} ${7}`.text, `docker stop a 'b c' 7`);
  const root = { ...cmd`docker compose ${['ps']}`, env: { COMPOSE_FILE: 'a.yml' }, root: true as const };
  assert.deepEqual(cmd`timeout 5 ${root} --all`, { ...root, text: 'timeout 5 docker compose ps --all' });
});

test('the words of a command are read back from its text', () => {
  assert.deepEqual(wordsOf(cmd`printf ${hostile} end`), ['printf', ...hostile, 'end']);
});

test('$ gives what a command wrote, its lines, or the JSON that it is', async () => {
  const { $ } = localHost();
  assert.equal(await $`printf ${'a b\n'}`, 'a b\n');
  assert.deepEqual(await $`printf ${'a\n\nb\n'}`.lines(), ['a', 'b']);
  assert.deepEqual(await $`echo ${'{"a":1}'}`.json(), { a: 1 });
  await assert.rejects($`echo ${'{"a":"s3cret'}`.json(), { message: 'echo: what it wrote is not JSON' });
  await assert.rejects($`false`.json(), { message: 'false exited with 1' });
});

test('a pipeline fails like its last command, and root is asked for the whole of it', async () => {
  assert.equal(await localHost().run({ text: 'echo a | cat; echo b' }), 'a\nb\n');
  await assert.rejects(localHost().run({ text: 'echo a | false' }), CommandFailure);
  assert.match(
    shellText({ text: 'a | b', root: true }),
    /exec sudo -n --preserve-env= -- sh -c 'a \| b'; fi$/,
  );
});

// What zx would do by itself, and must not.

test('zx: no prefix, no other shell, and nothing of its own on the terminal, whatever ZX_ variables say', () => {
  const shell = join(import.meta.dirname, '../../lib/hosts.ts');
  const script = `import { localHost } from ${JSON.stringify(shell)};
    process.stdout.write(await localHost().run({ text: 'echo "$-" x; false; echo on' }));`;
  const ran = spawnSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: {
      ...process.env,
      ...{ ZX_SHELL: '', ZX_PREFIX: 'echo bad;', ZX_POSTFIX: '; echo bad', ZX_VERBOSE: 'true' },
      ...{ ZX_CWD: '/nowhere', ZX_TIMEOUT: '1ms', ZX_PREFER_LOCAL: 'true', ZX_DETACHED: 'true' },
    },
  });
  assert.deepEqual([ran.stdout, ran.stderr], [' x\non\n', '']);
});

test('zx: a command that reads has an end to its input', async () => {
  assert.equal(await localHost().run(cmd`cat`), '');
});

test('zx: output that was read to its end counts only once its command has ended well', async () => {
  const running = localHost().start(sh('echo part; exit 3'));
  running.stdin.end();
  assert.equal(await text(running.stdout), 'part\n');
  await assert.rejects(running.done, { message: 'sh exited with 3' });
});

test('zx: what was written before anybody read is not lost', async () => {
  const running = localHost().start(sh('echo early; echo >&2'));
  await once(running.stderr, 'data');
  assert.equal(await text(running.stdout), 'early\n');
  await running.done;
});

test('zx: what flows through is not kept in memory', async () => {
  const running = localHost().start(cmd`head -c 300000000 /dev/zero`);
  const before = process.memoryUsage().rss;
  let most = 0;
  for await (const _ of running.stdout) most = Math.max(most, process.memoryUsage().rss - before);
  await running.done;
  assert.ok(most < 150e6, `${most} bytes more in memory`);
});

test('zx: an interruption ends a pipeline whole', async (t) => {
  const files = ['a', 'b'].map((name) => join(tempDir(t), name));
  const interruption = new AbortController();
  const [one, two] = files.map((file) => waiting(file).text);
  const running = localHost({ signal: interruption.signal }).run({ text: `${one} | ${two}` });
  await until('both run', () => files.every((file) => existsSync(file)));
  interruption.abort(new Error('SIGTERM'));
  await assert.rejects(running);
  for (const file of files) await until('it has ended', () => !isAlive(Number(readFileSync(file, 'utf8'))));
});
