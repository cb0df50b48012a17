import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Container, stateOf } from '../../../../lib/deploy/compose-containers.ts';
import { prunable } from '../../../../lib/deploy/compose-image.ts';
import { namesOnce, parsePins, pinsFile } from '../../../../lib/deploy/compose-switch.ts';
import { isVersion, versionsIn } from '../../../../lib/health.ts';
import { splitShared } from '../../../../lib/host-opsbook.ts';

const container = (more: Partial<Container>): Container => ({
  ...{ id: 'a', name: 'shop-web-2', service: 'web', imageId: 'sha256:1', image: 'shop/web:1', hash: 'h' },
  ...{ status: 'running', exitCode: 0, restarts: 0, restartPolicy: 'unless-stopped' },
  ...more,
});
const health = (status: string, said = '') => ({ health: { status, said } });

for (const [what, all, expected] of [
  ['healthy', [health('healthy')], 'healthy'],
  ['running, and without a health check', [{}], 'healthy'],
  ['healthy beside one that starts', [health('healthy'), health('starting')], 'starting'],
  ['restarting', [{ status: 'restarting', restarts: 1 }], 'starting'],
  ['unhealthy', [health('unhealthy')], 'broken'],
  ['ended', [{ status: 'exited', exitCode: 1 }], 'broken'],
  ['crashed for the third time', [{ restarts: 3 }], 'broken'],
  ['a one-shot that did its work', [{ status: 'exited', restartPolicy: 'no' }], 'healthy'],
  ['a one-shot that failed', [{ status: 'exited', exitCode: 2, restartPolicy: 'no' }], 'broken'],
] as const)
  test(`containers are ${expected}: ${what}`, () => {
    assert.equal(stateOf(all.map(container)).is, expected);
  });

test('what the health check said is told', () => {
  const state = stateOf([container(health('unhealthy', 'connection refused\nmore'))]);
  assert.deepEqual(state, { is: 'broken', what: 'shop-web-2 is unhealthy: connection refused' });
});

test('pins are read back as they were written', () => {
  const release = {
    version: '2.0.0',
    images: { web: { reference: `shop/web:2.0.0@sha256:${'0'.repeat(64)}`, id: 'sha256:1' } },
  };
  assert.deepEqual(parsePins(pinsFile(release)), release);
  assert.equal(parsePins('services: {}'), undefined);
});

for (const [once, configuration] of [
  [true, 'upstream app {\n  server web:8000;\n}'],
  [true, '  proxy_pass http://web:8000/api/;'],
  [true, 'server web:8000 max_fails=2;'],
  [false, 'server web:8000 resolve;'],
  [false, 'set $web http://web:8000;\nproxy_pass $web;'],
  [false, 'proxy_pass http://website:8000;'],
  [false, 'server_name web;'],
] as const)
  test(`nginx looks web up ${once ? 'once' : 'again and again, or not at all'}: ${configuration.split('\n').join(' ')}`, () => {
    assert.equal(namesOnce(configuration, 'web'), once);
  });

test('✗ prune removes the images needed for rollback: ours keeps them, and those that are not its own', () => {
  const release = (id: string) => ({ version: id, images: { web: { reference: `shop/web:${id}`, id } } });
  const records = ['1', '2', '3'].map((id) => ({
    ...release(id),
    ...{ at: '', did: 'update' as const, who: '', migrated: false, verified: true, ms: 0 },
  }));
  assert.deepEqual(prunable(records, [release('2'), release('3')]), ['shop/web:1']);
});

test('a version is told in several ways', () => {
  assert.deepEqual(versionsIn('{"version":"1.2.0","commit":"abc"}'), ['1.2.0', 'abc']);
  assert.deepEqual(versionsIn('1.2.0'), ['1.2.0']);
  assert.deepEqual(versionsIn('<html>'), []);
  assert.ok(isVersion('1.2.0', { version: 'v1.2.0' }));
  assert.ok(isVersion('0123456', { version: 'x', commit: '0123456789abcdef' }));
  assert.ok(!isVersion('1.2.0', { version: '1.2.1' }));
});

test('the backup is told of the same app as we are', () => {
  const argv = ['1.2.0', '--env-file', 'a.env', '--backup', '--env-file=b.env', '--target', 'local'];
  assert.deepEqual(splitShared(argv), {
    shared: ['--env-file', 'a.env', '--env-file=b.env', '--target', 'local'],
    own: ['1.2.0', '--backup'],
  });
});
