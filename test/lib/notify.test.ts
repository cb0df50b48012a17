import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from '../../lib/failure.ts';
import { Report } from '../../lib/output.ts';
import { beat, hasHeartbeat, heartbeatUrl, notify, watch } from '../../lib/run.ts';
import { Secret } from '../../lib/secret.ts';
import { httpServer, recorder } from './kit.ts';

const ok = (response: import('node:http').ServerResponse) => void response.end('ok');
const NOBODY = 'http://127.0.0.1:9';

test('a heartbeat goes to start, to the address itself, and to fail', () => {
  for (const [url, moment, address] of [
    ['https://hc/k/bloaty', 'start', 'https://hc/k/bloaty/start'],
    ['https://hc/k/bloaty', 'success', 'https://hc/k/bloaty'],
    ['https://hc/k/bloaty/', 'fail', 'https://hc/k/bloaty/fail'],
    ['https://hc/k/bloaty?create=1', 'fail', 'https://hc/k/bloaty/fail?create=1'],
    ['https://hc/{script}/x-{script}', 'success', 'https://hc/drill/x-drill'],
  ] as const)
    assert.equal(heartbeatUrl(url, 'drill', moment).href, address);
});

test('without {script} in its address the heartbeat is that of backup alone', () => {
  assert.equal(hasHeartbeat('https://hc/k', 'backup'), true);
  assert.equal(hasHeartbeat('https://hc/k', 'drill'), false);
  assert.equal(hasHeartbeat('https://hc/{script}', 'drill'), true);
});

test('a webhook gets JSON as Slack wants it', async (t) => {
  const { url, requests } = await httpServer(t, ok);
  assert.equal(await notify(new Secret(`${url}/hook`), 'a "b"\nc'), undefined);
  assert.deepEqual(requests, [{ path: '/hook', type: 'application/json', body: '{"text":"a \\"b\\"\\nc"}' }]);
});

test('a server that refuses is told of, with its host and not its address', async (t) => {
  const { url } = await httpServer(t, (response) => response.writeHead(500).end('no'));
  assert.equal(
    await beat(new Secret(`${url}/key-1`), 'backup', 'start'),
    `${new URL(url).host} answered 500`,
  );
});

test('a server that is down or silent is told of, after a while at the most', async (t) => {
  const { url } = await httpServer(t, () => {});
  assert.match((await beat(new Secret(`${NOBODY}/key-2`), 'backup', 'start')) ?? '', /^127.0.0.1:9: /);
  assert.match((await notify(new Secret(`${url}/key-3`), 'text', 50)) ?? '', /^127.0.0.1:\d+: .*timeout/);
});

/** A run that is watched, as far as the watchers see it. */
async function watched(
  script: string,
  raw: Record<string, string>,
  error?: unknown,
  refused = new Map<string, Failure>(),
) {
  const voice = recorder();
  const watcher = await watch(script, { raw, composed: {}, refused }, new Report(voice));
  await watcher.started();
  await watcher.ended(error);
  return voice.heard;
}

test('a run that succeeds beats twice and notifies nobody', async (t) => {
  const { url, requests } = await httpServer(t, ok);
  await watched('backup', { HEARTBEAT_URL: `${url}/beat`, NOTIFY_URL: `${url}/hook` });
  assert.deepEqual(
    requests.map((r) => r.path),
    ['/beat/start', '/beat'],
  );
});

test('an address that is refused is not used, and the other one is', async (t) => {
  const { url, requests } = await httpServer(t, ok);
  const refusal = new Failure('NOTIFY_URL has one value for dotenv and another for Docker Compose');
  const raw = { HEARTBEAT_URL: `${url}/beat`, NOTIFY_URL: `${url}/hook` };
  await watched('backup', raw, new Failure('x'), new Map([['NOTIFY_URL', refusal]]));
  assert.deepEqual(
    requests.map((r) => r.path),
    ['/beat/start', '/beat/fail'],
  );
});

test('a run that fails beats so and notifies, with one masked line', async (t) => {
  const { url, requests } = await httpServer(t, ok);
  new Secret('nobody-knows');
  const raw = { APP: 'bloaty', HEARTBEAT_URL: `${url}/{script}`, NOTIFY_URL: `${url}/hook` };
  await watched('drill', raw, new Failure('row counts differ for nobody-knows', { exit: 3, next: 'look' }));
  assert.deepEqual(
    requests.map((r) => [r.path, r.body]),
    [
      ['/drill/start', ''],
      ['/drill/fail', 'row counts differ for [redacted]. Next: look'],
      ['/hook', '{"text":"bloaty: drill failed: row counts differ for [redacted]. Next: look"}'],
    ],
  );
});

test('watchers that are down make warnings and nothing else', async () => {
  const raw = { HEARTBEAT_URL: `${NOBODY}/b`, NOTIFY_URL: `${NOBODY}/n` };
  const heard = await watched('backup', raw, new Failure('x'));
  assert.deepEqual(
    heard.map(([, level, text]) => [level, String(text).split(':')[0]]),
    [
      ['warning', 'HEARTBEAT_URL was not told'],
      ['warning', 'HEARTBEAT_URL was not told'],
      ['warning', 'NOTIFY_URL was not told'],
    ],
  );
});

test('a watcher whose address is wrong does not keep the other from watching', async (t) => {
  const { url, requests } = await httpServer(t, ok);
  await watched('backup', { HEARTBEAT_URL: 'not a url', NOTIFY_URL: `${url}/hook` }, new Failure('x'));
  assert.equal(requests.length, 1);
});
