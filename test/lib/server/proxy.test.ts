import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyOf, within } from '../../../lib/server/proxy.ts';

test('a proxy that Docker restarts again and again does not count as running', () => {
  const now = Date.parse('2026-02-01T00:00:30Z');
  const inspected = (state: object, more: object = {}) => ({
    ...{ Path: '/docker-entrypoint.sh', Args: ['nginx', '-g', 'daemon off;'], RestartCount: 0, Mounts: [] },
    State: { Running: true, Restarting: false, StartedAt: '2026-02-01T00:00:00Z', ...state },
    ...{ Config: { Env: null }, ...more },
  });
  assert.equal(proxyOf(inspected({}), now).steady, true);
  assert.equal(proxyOf(inspected({ Restarting: true }), now).steady, false);
  assert.equal(proxyOf(inspected({ Running: false }), now).started, false);
  const again = { StartedAt: '2026-02-01T00:00:29Z' };
  assert.equal(proxyOf(inspected(again, { RestartCount: 3 }), now).fresh, true);
  assert.equal(proxyOf(inspected(again), now).fresh, false);
  assert.equal(proxyOf(inspected({}, { RestartCount: 3 }), now).fresh, false);
  const caddy = proxyOf(
    inspected({}, { Path: '/usr/bin/caddy', Args: ['run'], Config: { Env: ['XDG_DATA_HOME=/data'] } }),
    now,
  );
  assert.deepEqual([caddy.kind, caddy.dataDirectory], ['caddy', '/data/caddy']);
});

test('a directory is within another by its path, not by its letters', () => {
  assert.equal(within('/data/caddy', '/data'), true);
  assert.equal(within('/data', '/data/'), true);
  assert.equal(within('/database', '/data'), false);
  assert.equal(within('/x', '/'), true);
});
