import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { Problems } from '../../../lib/failure.ts';
import { Report } from '../../../lib/output.ts';
import { Secret } from '../../../lib/secret.ts';
import { preflight, printUserData, type SetupSettings, userData } from '../../../lib/server/setup.ts';
import { systemNamed, systemNames } from '../../../lib/server/setup-settings.ts';
import { droplet } from '../../../scripts/server/setup-droplet.ts';
import { USER_DATA_MAX } from '../../../scripts/server/setup-ec2.ts';
import { recorder } from '../kit.ts';
import { itemsOf, settings, strictHost } from './setup-kit.ts';

/** What a host on which nothing is missing says of itself. */
const told = `os=debian
version=13
machine=x86_64
freeMb=20000
systemd=1
login=root
sshPorts=22 2222 
zone=UTC
opsbook=1
`;
type Answer = ReturnType<Parameters<typeof strictHost>[0]>;

/** The preflight of a host that says this of itself, and answers whatever else it is asked in one way. */
function preflightOf(facts: Answer, more: Partial<SetupSettings> = {}, answer: Answer = '') {
  const host = strictHost((command) => (command.text.includes('/etc/os-release') ? facts : answer));
  const context = { host, settings: settings(more), report: new Report(recorder()) };
  return preflight(context as unknown as Parameters<typeof preflight>[0]);
}

test('the facts of a host', async () => {
  assert.deepEqual((await preflightOf(told)).facts, {
    ...{ os: 'debian', version: '13', machine: 'x86_64', freeMb: 20000, systemd: true, dockerCe: false },
    ...{ login: 'root', sshPorts: [22, 2222], zone: 'UTC', opsbook: true, taken: false },
  });
});

test('a host on which nothing is missing has its system', async () => {
  assert.equal((await preflightOf(told)).system.name, 'debian-13');
});

test('all that speaks against a set-up is said at once', async () => {
  const poor = told
    .replace('x86_64', 'riscv64')
    .replace('20000', '900')
    .replace('systemd=1\n', '')
    .replace('opsbook=1', 'taken=1');
  const unreachable = { code: 1, stderr: 'cannot reach http://mirror.example/debian/InRelease' };
  const error = await preflightOf(poor, { APP: 'docker', APP_DIR: '/etc' }, unreachable).catch(
    (e: unknown) => e,
  );
  assert.ok(error instanceof Problems);
  const messages = error.problems.map(({ message }) => message).join('\n');
  for (const part of [
    /was not booted by systemd/,
    /is a riscv64 machine/,
    /943\.7 MB are free on \/, 2\.6 GB are needed/,
    /opsbook is not there, and OPSBOOK_REPOSITORY is not set/,
    /APP=docker: fake has a docker\.service of its own, which the app's would replace/,
    /APP_DIR=\/etc: is the system's, not the app's/,
    /its package sources do not answer: cannot reach http:\/\/mirror\.example/,
  ])
    assert.match(messages, part);
});

test('a system that is not supported is named, with those that are', async () => {
  await assert.rejects(preflightOf(told.replace('debian', 'fedora').replace('13', '42')), {
    message: 'fake runs fedora 42, which is not supported',
    next: 'use one of amzn-2023, ubuntu-22.04, ubuntu-24.04, debian-12, debian-13',
  });
});

test('a user who cannot become root is told so', async () => {
  await assert.rejects(preflightOf({ code: 1, stderr: 'sudo: a password is required' }), {
    message: 'fake: this user cannot become root: sudo: a password is required',
    next: 'log in as root, or as a user whose sudo asks for no password',
  });
});

test("an app gets no directory of the system's, however it is written", async () => {
  for (const APP_DIR of ['/', '/opt', '/etc/app', '/opt/../usr/app', '/var/www', '/root'])
    await assert.rejects(preflightOf(told, { APP_DIR }), {
      message: `APP_DIR=${APP_DIR}: is the system's, not the app's`,
    });
  await assert.rejects(preflightOf(told, { APP_DIRECTORIES: ['uploads', '../../etc'] }), /APP_DIRECTORIES=/);
  for (const APP_DIR of ['/opt/bloaty', '/home/ec2-user/app', '/srv/app', '/var/www/app'])
    await preflightOf(told, { APP_DIR });
});

const everything = { DOMAIN: ['bloaty.test'], BACKUP_SCHEDULE: '0 3 * * *', VERIFY_SCHEDULE: '30 7 * * *' };

for (const name of systemNames)
  test(`user data for ${name} on EC2 is one script that sh can read, no larger than EC2 takes`, async () => {
    const text = userData(await itemsOf(name, 'ec2', everything), 'test');
    const { status, stderr } = spawnSync('sh', ['-n'], { input: text, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.ok(Buffer.byteLength(text) <= USER_DATA_MAX, `${Buffer.byteLength(text)} bytes`);
  });

test('its items are those of a set-up over ssh, in their order', async () => {
  const items = await itemsOf('debian-13', 'droplet', everything);
  const text = userData(items, 'test');
  const positions = items.map(({ title }) => text.indexOf(`+ ${title.replaceAll("'", `'\\''`)}`));
  assert.ok(positions.every((at, i) => at > (positions[i - 1] ?? 0)));
});

test('V1: user data that would be printed with holes is refused: the first boot could not clone with it', async () => {
  const secret = new Secret('cloned-by-nobody-else');
  const printed = async (more: Partial<SetupSettings>) => {
    let text = '';
    const report = new Report(recorder(), (part) => {
      text += part;
    });
    const context = { settings: settings(more), report } as Parameters<typeof printUserData>[2];
    await printUserData(systemNamed('debian-13')!, droplet, context);
    return text;
  };
  const fine = {
    OPSBOOK_REPOSITORY: 'ssh://git@example.org/opsbook.git',
    APP_REPOSITORY: 'git@example.org:a/b',
  };
  assert.ok((await printed(fine)).includes(fine.OPSBOOK_REPOSITORY));
  const refused = async (more: Partial<SetupSettings>) =>
    printed({ ...fine, ...more }).then(assert.fail, (error: unknown) => error as Problems);
  const both = await refused({
    OPSBOOK_REPOSITORY: 'https://x-access-token:ghs_abc@github.com/a/opsbook',
    APP_REPOSITORY: 'https://0123456789abcdef0123@github.com/a/b',
  });
  assert.equal(both.exit, 2);
  assert.deepEqual(
    both.problems.map(({ message }) => message),
    [
      'OPSBOOK_REPOSITORY contains a password or a token, which user data must not',
      'APP_REPOSITORY contains a password or a token, which user data must not',
    ],
  );
  const place = await refused({ APP_DIRECTORIES: [secret.reveal()] });
  assert.deepEqual([place.exit, place.message], [2, 'user data would contain a secret of this environment']);
});
