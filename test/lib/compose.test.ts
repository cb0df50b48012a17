import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Command, CommandFailure, cmd, wordsOf } from '../../lib/command.ts';
import { compose, composeCommand, dockerFailure, parseListing } from '../../lib/compose.ts';
import { Failure } from '../../lib/failure.ts';
import { localHost } from '../../lib/hosts.ts';
import type { Host } from '../../lib/shell.ts';
import { tempDir } from './kit.ts';

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
    if (wordsOf(command).includes('config')) return 'web\ndb\n';
    if (['web', 'db'].includes(wordsOf(command).at(-1) ?? '')) return listing;
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
  assert.deepEqual(ran, [{ ...cmd`docker compose ps --all --format json db`, ...at }]);
});

test('an APP_DIR that is not there is named, and Docker is not blamed for it', async () => {
  await assert.rejects(compose(localHost(), '/nonexistent/app', {}).container('web'), {
    message: 'docker compose: /nonexistent/app is not there to run it in',
  });
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
    run: (c: Command) => (wordsOf(c).includes('ps') ? Promise.reject(new Failure('no daemon')) : run(c)),
  };
  const none = { COMPOSE_FILE: undefined, COMPOSE_PROJECT_NAME: undefined };
  await assert.rejects(compose(down, '/opt/bloaty', none).container('db'), { message: 'no daemon' });
});

const words = (...given: Parameters<typeof composeCommand>) => composeCommand(...given).text;

test('F27, R3: every command reads SECRETS_FILE, and what Compose reads by itself is not told', () => {
  assert.equal(words('/opt/a', {}, ['ps']), 'docker compose ps');
  assert.equal(
    words('/opt/a/', { SECRETS_FILE: './.env', COMPOSE_FILE: 'b.yml' }, ['ps']),
    'docker compose ps',
  );
  for (const file of ['.env.production', '/opt/a/.env.production'])
    assert.equal(
      words('/opt/a', { SECRETS_FILE: file, COMPOSE_FILE: 'deploy/b.yml' }, ['ps']),
      'docker compose --env-file /opt/a/.env.production ps',
    );
});

/** Runs a command with a docker that prints its words, after COMPOSE_FILE where `shows` says so. */
function said(dir: string, command: Command, shows = ''): string {
  const { env = {}, cwd } = command;
  mkdirSync(join(dir, 'bin'), { recursive: true });
  writeFileSync(join(dir, 'bin/docker'), `#!/bin/sh\necho ${shows}"$@"\n`, { mode: 0o755 });
  const [program = '', ...args] = wordsOf(command);
  const PATH = `${dir}/bin:${process.env.PATH}`;
  const whole = { ...process.env, ...(env as object), PATH };
  return execFileSync(program, args, { cwd, env: whole, encoding: 'utf8' }).trim();
}

test("R3: where the compose files are elsewhere, the .env beside them is read and then the app's, if they are there", (t) => {
  const dir = tempDir(t);
  mkdirSync(join(dir, 'deploy'));
  const up = () => said(dir, composeCommand(dir, { COMPOSE_FILE: 'deploy/b.yml' }, ['up', 'a b']));
  assert.equal(up(), 'compose up a b');
  writeFileSync(join(dir, '.env'), '');
  assert.equal(up(), `compose --env-file ${dir}/.env up a b`);
  writeFileSync(join(dir, 'deploy/.env'), '');
  assert.equal(up(), `compose --env-file ${dir}/deploy/.env --env-file ${dir}/.env up a b`);
});

test('R3: an `up` with COMPOSE_FILE of the settings starts the version that was deployed', (t) => {
  const dir = tempDir(t);
  const up = (COMPOSE_FILE?: string) =>
    said(dir, compose(fake('').host, dir, { COMPOSE_FILE }).command('up', 'web'), '"$COMPOSE_FILE" ');
  delete process.env.COMPOSE_FILE;
  for (const files of ['b.yml', 'deploy/b.yml']) assert.equal(up(files), `${files} compose up web`);
  mkdirSync(join(dir, '.opsbook'));
  writeFileSync(join(dir, '.opsbook/deployed.yml'), '');
  for (const files of ['b.yml', 'deploy/b.yml'])
    assert.equal(up(files), `${files}:.opsbook/deployed.yml compose up web`);
  assert.equal(up('b.yml:.opsbook/deployed.yml'), 'b.yml:.opsbook/deployed.yml compose up web');
  // The env file says it.
  assert.equal(up(), 'compose up web');
});

for (const [stderr, code, message] of [
  ["unknown shorthand flag: 'f' in -f", 125, 'host: docker knows no compose'],
  ['sh: 1: docker: not found', 127, 'host: docker: command not found'],
  ['sh: docker: command not found', 127, 'host: docker: command not found'],
  ['permission denied while trying to connect to the Docker daemon socket', 1, /this user may not speak/],
  ['permission denied while trying to connect to the docker API at unix:///x', 1, /this user may not speak/],
  ['Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?', 1, /^host: Cannot/],
  ['failed to connect to the docker API at unix:///x; check if the daemon is running', 1, /^host: failed/],
  ['open /opt/docker/.env: permission denied', 1, undefined],
  ['no such service: web', 1, undefined],
] as const)
  test(`what is wrong with Docker itself is not blamed on the app: ${stderr}`, () => {
    const failure = new CommandFailure({ command: cmd`docker compose ps`, words: stderr, code, stderr });
    const problem = dockerFailure(failure, 'host: ');
    if (message === undefined) assert.equal(problem, undefined);
    else if (typeof message === 'string') assert.equal(problem?.message, message);
    else assert.match(problem?.message ?? '', message);
  });
