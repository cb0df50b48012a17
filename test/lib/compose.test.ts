import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from '../../lib/command.ts';
import { compose, parseListing } from '../../lib/compose.ts';
import { Failure } from '../../lib/failure.ts';
import type { Host } from '../../lib/host.ts';

const db = { Name: 'bloaty-db-1', State: 'running' };
const web = { Name: 'bloaty-web-1', State: 'exited' };

test('a listing is read as old and new versions of Compose write it', () => {
  for (const [text, listed] of [
    ['', []],
    ['\n', []],
    ['[]', []],
    [JSON.stringify([db, web]), [db, web]],
    [`${JSON.stringify(db)}\n${JSON.stringify(web)}\n`, [db, web]],
  ] as const)
    assert.deepEqual(parseListing(text), listed);
});

/** A host whose compose has the services web and db; `ps` of any other fails, as it does. */
function fake(listing: string): { host: Host; ran: Command[] } {
  const ran: Command[] = [];
  const run = async (command: Command) => {
    ran.push(command);
    if (command.argv.includes('config')) return 'web\ndb\n';
    if (['web', 'db'].includes(command.argv.at(-1) ?? '')) return listing;
    throw new Failure('docker exited with 1: no such service');
  };
  return { host: { name: 'fake', run } as unknown as Host, ran };
}

test('the container of a service is the one that runs', async () => {
  const { host, ran } = fake(
    `${JSON.stringify({ ...db, Name: 'old', State: 'exited' })}\n${JSON.stringify(db)}`,
  );
  const settings = { COMPOSE_FILE: 'a.yml', COMPOSE_PROJECT_NAME: undefined, APP: 'x' };
  assert.equal(await compose(host, '/opt/bloaty', settings).container('db'), 'bloaty-db-1');
  const at = { env: { COMPOSE_FILE: 'a.yml' }, cwd: '/opt/bloaty' };
  assert.deepEqual(ran, [{ argv: ['docker', 'compose', 'ps', '--all', '--format', 'json', 'db'], ...at }]);
});

test('a service that is stopped has no container', async () => {
  const { host } = fake(JSON.stringify([web]));
  const none = { COMPOSE_FILE: undefined, COMPOSE_PROJECT_NAME: undefined };
  assert.equal(await compose(host, '/opt/bloaty', none).container('web'), undefined);
});

test('a service that is not there is told with those that are', async () => {
  const { host } = fake('');
  const none = { COMPOSE_FILE: undefined, COMPOSE_PROJECT_NAME: undefined };
  await assert.rejects(compose(host, '/opt/bloaty', none).container('bd'), {
    message: 'compose has no service bd; it has db, web',
    exit: 2,
  });
});

test('what fails for another reason than the name is told as it is', async () => {
  const { host } = fake('');
  const run = host.run;
  const down = {
    ...host,
    run: (c: Command) => (c.argv.includes('ps') ? Promise.reject(new Failure('no daemon')) : run(c)),
  };
  const none = { COMPOSE_FILE: undefined, COMPOSE_PROJECT_NAME: undefined };
  await assert.rejects(compose(down, '/opt/bloaty', none).container('db'), { message: 'no daemon' });
});
