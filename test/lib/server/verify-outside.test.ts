import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkDns,
  checkHealth,
  checkVersion,
  judgeBackups,
  lastVerified,
} from '../../../lib/server/verify-outside.ts';
import { WebAddress } from '../../../lib/web.ts';
import { httpServer } from '../kit.ts';

const { signal } = new AbortController();

test('dns: a name that has the expected address, another one, one too few, or none', async () => {
  const state = async (name: string, expected?: string[]) => (await checkDns(name, expected)).state;
  assert.equal(await state('127.0.0.1', ['127.0.0.1']), 'ok');
  assert.equal(await state('127.0.0.1'), 'ok');
  assert.equal(await state('127.0.0.1', ['203.0.113.7']), 'problem');
  assert.equal(await state('127.0.0.1', ['127.0.0.1', '203.0.113.7']), 'problem');
  assert.equal(await state('nowhere.invalid', ['127.0.0.1']), 'problem');
});

for (const [body, well] of [
  ['{"status":"healthy"}', true],
  ['ok', true],
  ['{"status":"unhealthy"}', false],
  ['{"status":"DOWN","db":"refused"}', false],
  ['unhealthy', false],
] as const)
  test(`health: a 200 that says ${body} is ${well ? 'well' : 'ill'}`, async (t) => {
    const { url } = await httpServer(t, (response) => response.end(body));
    assert.equal((await checkHealth(new WebAddress(url), signal)).state, well ? 'ok' : 'problem');
  });

test('health: a redirect is named with where it leads, and not followed (C4)', async (t) => {
  const { url } = await httpServer(t, (response) =>
    response.writeHead(301, { location: 'https://example.org/health' }).end(),
  );
  const row = await checkHealth(new WebAddress(url), signal);
  assert.match(row.found, /a redirect to https:\/\/example\.org\/health/);
  assert.match(row.todo, /HEALTH_URL/);
});

const records = [
  { version: '1.1.0', verified: true, at: '2026-11-02T00:00:00Z' },
  { version: '2.0.0', verified: false, at: '2026-11-03T00:00:00Z' },
  { version: '1.0.0', verified: true, at: '2026-11-01T00:00:00Z' },
].map((record) => JSON.stringify(record));

test('version: the last verified deployment is what has to answer, not the last one', async (t) => {
  const verified = lastVerified(`cut off}\n${records.join('\n')}\n`);
  assert.equal(verified?.version, '1.1.0');
  const { url } = await httpServer(t, (response) => response.end('{"version":"v1.1.0"}'));
  assert.equal((await checkVersion(new WebAddress(url), verified, signal)).state, 'ok');
  const other = await checkVersion(new WebAddress(url), { version: '1.0.0' }, signal);
  assert.equal(other.found, 'v1.1.0 answers, not 1.0.0');
  assert.equal((await checkVersion(new WebAddress(url), lastVerified(''), signal)).state, 'ok');
});

const NOW = new Date('2026-11-21T08:00:00Z');
const DAY = 86_400_000;
const backup = (id: string, started: string, bytes = 1000, state = 'complete' as const) => ({
  ...{ id, started, bytes, state },
});
const old = backup('a', '2026-11-20T03:00:00Z');
const fresh = backup('b', '2026-11-21T03:00:00Z');

test('backup: complete, fresh, and about as large as the one before', () => {
  const states = (...backups: Array<typeof old>) =>
    judgeBackups('s3://b/app', backups, DAY, NOW).map(({ state }) => state);
  assert.deepEqual(states(old, fresh), ['ok']);
  assert.deepEqual(states(old), ['problem']);
  assert.deepEqual(states(), ['problem']);
  assert.deepEqual(states(old, { ...fresh, state: 'unfinished' as 'complete' }), ['problem']);
  assert.deepEqual(states(old, { ...fresh, bytes: 499 }), ['ok', 'problem']);
  assert.deepEqual(states({ ...fresh, started: '2026-11-22T08:00:00Z' }), ['problem']);
});
