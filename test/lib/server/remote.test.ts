import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onlyDescribe } from '../../../lib/script.ts';
import { cmd, wordsOf } from '../../../lib/shell.ts';

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
