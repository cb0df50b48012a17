import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problems } from '../../../../lib/failure.ts';
import { facts, preflight, refusePlaces } from '../../../../lib/server/setup.ts';
import { parseFacts } from '../../../../lib/server/setup-facts.ts';
import { settings, strictHost } from './kit.ts';

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
const known = parseFacts(told);

test('the facts of a host', () => {
  assert.deepEqual(known, {
    ...{ os: 'debian', version: '13', machine: 'x86_64', freeMb: 20000, systemd: true, dockerCe: false },
    ...{ login: 'root', sshPorts: [22, 2222], zone: 'UTC', opsbook: true, taken: false },
  });
});

test('a host on which nothing is missing has its system', async () => {
  const host = strictHost(() => '');
  assert.equal((await preflight(host, known, settings())).name, 'debian-13');
});

test('all that speaks against a set-up is said at once', async () => {
  const host = strictHost(() => ({ code: 1, stderr: 'cannot reach http://mirror.example/debian/InRelease' }));
  const poor = { ...known, machine: 'riscv64', freeMb: 900, systemd: false, opsbook: false, taken: true };
  const error = await preflight(host, poor, settings({ APP: 'docker', APP_DIR: '/etc' })).catch(
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

test('a system that no set-up is for is named, with those that there are', async () => {
  const host = strictHost(() => '');
  await assert.rejects(preflight(host, { ...known, os: 'fedora', version: '42' }, settings()), {
    message: 'fake runs fedora 42, which no set-up is for',
    next: 'use one of amzn-2023, ubuntu-22.04, ubuntu-24.04, debian-12, debian-13',
  });
});

test('a user who cannot become root is told so', async () => {
  const host = strictHost(() => ({ code: 1, stderr: 'sudo: a password is required' }));
  await assert.rejects(facts(host, settings()), {
    message: 'fake: this user cannot become root: sudo: a password is required',
    next: 'log in as root, or as a user whose sudo asks for no password',
  });
});

test("an app gets no directory of the system's, however it is written", async () => {
  for (const APP_DIR of ['/', '/opt', '/etc/app', '/opt/../usr/app', '/var/www', '/root'])
    await assert.rejects(refusePlaces(settings({ APP_DIR })), {
      message: `APP_DIR=${APP_DIR}: is the system's, not the app's`,
    });
  await assert.rejects(
    refusePlaces(settings({ APP_DIRECTORIES: ['uploads', '../../etc'] })),
    /APP_DIRECTORIES=/,
  );
  for (const APP_DIR of ['/opt/bloaty', '/home/ec2-user/app', '/srv/app', '/var/www/app'])
    await refusePlaces(settings({ APP_DIR }));
});
