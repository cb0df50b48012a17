import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cmd, wordsOf } from '../../../lib/command.ts';
import { localHost } from '../../../lib/hosts.ts';
import { onlyDescribe } from '../../../lib/script.ts';
import { runOn } from '../../../lib/server/remote.ts';
import type { Host } from '../../../lib/shell.ts';

onlyDescribe(() => {});
const { commandOf } = await import('../../../scripts/server/remote.ts');

const app = {
  ...{ OPSBOOK_DIR: '/opt/opsbook', APP_DIR: '/opt/app', SECRETS_FILE: '.env', APP_SERVICE: 'web' },
  REMOTE: { 'create-invite': 'app invite', 'create-user': 'app user' },
  MIGRATE_COMMAND: 'app migrate',
};

const argvOf = (verb: string, words: string[], rest: Record<string, unknown> = {}) =>
  wordsOf(commandOf({ verb, words, ...rest }, app))
    .slice(2)
    .join(' ');

const inApp = 'exec -T web';
const logs = '--ansi never logs --no-color --timestamps --tail';

const table: Array<[string, string[], string, Record<string, unknown>?]> = [
  ['logs', [], `${logs} 100`],
  ['logs', ['web', 'db'], `${logs} 5 web db`, { tail: 5 }],
  ['logs', [], `${logs} all --since 1h --follow`, { since: '1h', follow: true }],
  ['restart', ['web'], 'restart web'],
  ['status', [], 'ps --all --format json'],
  ['exec', ['ls', '-l', 'a b'], `${inApp} ls -l a b`],
  ['exec', ['ls -l | wc'], `${inApp} sh -c ls -l | wc`],
  ['migrate', [], `${inApp} sh -c app migrate "$@" sh`],
  ['create-invite', [], `${inApp} sh -c app invite "$@" sh`],
  ['create-user', ["o'b@x.org"], `${inApp} sh -c app user "$@" sh o'b@x.org`],
];

for (const [verb, words, argv, rest] of table)
  test(`remote ${verb} ${words.join(' ')}: ${argv}`, () => assert.equal(argvOf(verb, words, rest), argv));

test('shell runs on the host as root: a line by a shell, words as they are', () => {
  assert.deepEqual(commandOf({ verb: 'shell', words: ['df -h | tail'] }, app), {
    ...cmd`sh -c ${'df -h | tail'}`,
    root: true,
  });
  assert.deepEqual(wordsOf(commandOf({ verb: 'shell', words: ['df', '-h'] }, app)), ['df', '-h']);
});

test('what is not set says what to set', () => {
  assert.throws(() => argvOf('flush-cache', []), { message: 'REMOTE_FLUSH_CACHE is not set', exit: 2 });
  assert.throws(() => argvOf('exec', []), { message: 'exec needs a command', exit: 2 });
});

test('of several hosts each is run on to its end, and what each wrote stays its own', async () => {
  const names = ['a', 'b', 'c'];
  const hosts = names.map((name): Host => ({ ...localHost(), name, target: `ssh://${name}` }));
  const written: string[] = [];
  const report = {
    data: (text: string) => written.push(text),
    summary: (text: string) => written.push(text),
  };
  const context = { json: true, report, signal: new AbortController().signal };
  const script = 'printf "one\\ntwo\\nrest"; echo why >&2; exit 3';
  const outcomes = await runOn(hosts, cmd`sh -c ${script}`, context as never, { grep: /o|s/, isLogs: false });
  assert.deepEqual(
    outcomes.map(({ host, code, failure }) => [host.name, code, failure?.message]),
    names.map((name) => [name, 3, 'sh exited with 3: why']),
  );
  const [data = '', table = ''] = written;
  assert.deepEqual(
    JSON.parse(data).map(({ ms, ...answer }: { ms: number }) => answer),
    names.map((host) => ({
      ...{ host, target: `ssh://${host}`, ok: false, code: 3 },
      ...{ stdout: 'one\ntwo\nrest', stderr: 'why\n' },
    })),
  );
  assert.match(table, /^a +exit 3 /m);
});

test('only lines that match are shown, the last one too when it has no end', async () => {
  const written: string[] = [];
  const report = { data: (text: string) => written.push(text) };
  const context = { json: true, report, signal: new AbortController().signal };
  const script = 'printf "\\033[2Kneedle 1\\nhay\\nneedle 2"';
  await runOn([localHost()], cmd`sh -c ${script}`, context as never, { grep: /^needle/, isLogs: true });
  assert.equal(JSON.parse(written[0] ?? '')[0].stdout, 'needle 1\nneedle 2');
});
