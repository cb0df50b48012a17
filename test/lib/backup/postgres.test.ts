import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCompose, parseDirect } from '../../../lib/backup/addresses.ts';
import { connect, connectIfUp, explaining } from '../../../lib/backup/postgres.ts';
import { type Command, CommandFailure, cmd, programOf, wordsOf } from '../../../lib/command.ts';
import type { Compose } from '../../../lib/compose.ts';
import { EXIT, type Failure } from '../../../lib/failure.ts';
import { type Host, shellOf } from '../../../lib/shell.ts';

/** A host that runs nothing: its commands write what `answer` says. */
function hostOf(answer: (command: Command) => string) {
  const ran: Command[] = [];
  const run: Host['run'] = async (command) => {
    ran.push(command);
    return answer(command);
  };
  const host = { name: 'h', target: 'local', run, $: shellOf(run) } as Host;
  return { host, ran };
}
const composeWith = (container: string | undefined): Compose => ({
  command: (...args) => cmd`docker compose ${args}`,
  container: async () => container,
});
const address = parseCompose('compose://db/shop');

test('a client program runs in the container as its superuser, and has ended well only with the marker', async () => {
  const { host } = hostOf(() => 'PATH=/bin\nPOSTGRES_USER=ad min\n');
  const server = await connect(host, composeWith('shop-db-1'), address);
  const command = server.cmd`pg_dump --dbname ${"it's"}`;
  const [app = ''] = wordsOf(command).filter((word) => word.startsWith('PGAPPNAME='));
  assert.deepEqual(wordsOf(command), [
    ...['docker', 'exec', '--interactive', '--env', 'PGUSER=ad min', '--env', app, 'shop-db-1'],
    ...['sh', '-c', '"$@" && echo "$0" >&2', 'opsbook: done', 'pg_dump', '--dbname', "it's"],
  ]);
  assert.equal(command.marker, 'opsbook: done');
});

test('a user that the address names is not looked up; a server reached directly gets its settings by environment', async () => {
  const { host, ran } = hostOf(() => '1\n\n2\n');
  await connect(host, composeWith('shop-db-1'), parseCompose('compose://db/shop?user=me'));
  assert.deepEqual(ran, []);
  const direct = await connect(host, composeWith(undefined), parseDirect('postgres://u:s3cret@h/shop'));
  const { text, env, marker } = direct.cmd`pg_dump --version`;
  assert.equal(text, 'pg_dump --version');
  assert.equal(marker, undefined);
  assert.equal(env?.PGHOST, 'h');
  assert.equal(String(env?.PGPASSWORD), '[redacted]');
  assert.deepEqual(await direct.rows('shop'), [1, 2]);
  assert.deepEqual(ran.map(programOf), ['psql']);
});

test('nobody who is connected to a database may rename it: other databases are renamed from there', async () => {
  const { host } = hostOf(() => '');
  const maintenance = async (uri: string) =>
    (await connectIfUp(host, composeWith('c'), parseCompose(uri)))?.maintenance;
  assert.equal(await maintenance('compose://db/shop'), 'postgres');
  assert.equal(await maintenance('compose://db/postgres'), 'template1');
});

test('a service that is not running is named, with how to start it', async () => {
  const { host } = hostOf(() => '');
  assert.equal(await connectIfUp(host, composeWith(undefined), address), undefined);
  await assert.rejects(
    connect(host, composeWith(undefined), address),
    ({ message, next }: Failure) =>
      message === 'compose://db/shop: the service db is not running' &&
      next === 'docker compose up --detach db',
  );
});

test('what a client says becomes what to do, and settings that are wrong exit with 2', async () => {
  const failed = (stderr: string) =>
    explaining(address, async () => {
      const command = cmd`psql`;
      throw new CommandFailure({
        command,
        words: stderr.split('\n')[0] ?? '',
        code: 2,
        how: 'exited with 2',
        stderr,
      });
    });
  for (const [stderr, exit, next] of [
    ['FATAL:  database "x" does not exist', EXIT.usage, /^correct the name in BACKUP_DATABASES$/],
    ['FATAL:  password authentication failed for user "x"', EXIT.usage, /^correct the password/],
    ['FATAL:  role "x" does not exist', EXIT.usage, /^correct the user/],
    ['connection to server failed: Connection refused', EXIT.failed, /^check that the server is running$/],
    ['FATAL:  terminating connection', EXIT.failed, /^check the log of the database/],
    ['ERROR:  canceling statement due to lock timeout', EXIT.failed, /^find out who holds a lock/],
    ['ERROR:  permission denied for table x', EXIT.failed, /^grant it: GRANT pg_read_all_data/],
    ['something else', EXIT.failed, /^try it by hand: psql$/],
  ] as const)
    await assert.rejects(
      failed(stderr),
      (error: Failure) =>
        error.exit === exit && next.test(error.next ?? '') && error.message.startsWith('compose://db/shop: '),
      stderr,
    );
  await assert.rejects(
    failed('pg_dump: error: query failed\nError message from server: ERROR:  lock timeout'),
    {
      message: 'compose://db/shop: query failed: ERROR:  lock timeout (database shop)',
    },
  );
  const other = new Error('of ours');
  await assert.rejects(
    explaining(address, () => Promise.reject(other)),
    other,
  );
});
