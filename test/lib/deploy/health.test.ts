import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { awaitAnswers, preflightAnswers } from '../../../lib/deploy/health.ts';
import { Failure } from '../../../lib/failure.ts';
import { WebAddress } from '../../../lib/web.ts';
import { httpServer } from '../kit.ts';

interface Answer {
  status?: number;
  text?: string;
  location?: string;
  /** milliseconds */
  after?: number;
}

const WELL: Answer = { text: '{"status":"ok","version":"2.0.0"}' };
const signal = new AbortController().signal;

/** An app whose address gives these answers in turn, the last one for ever. */
async function app(t: TestContext, ...answers: Answer[]) {
  let asked = 0;
  const { url } = await httpServer(t, async (response) => {
    const { status = 200, text = '', location, after = 0 } = answers[Math.min(asked, answers.length - 1)]!;
    asked += 1;
    await sleep(after, undefined, { ref: false });
    response.writeHead(status, location ? { location } : {}).end(text);
  });
  return { HEALTH_URL: new WebAddress(`${url}/health`), VERSION_URL: undefined, asked: () => asked };
}

const says = (pattern: RegExp) => (error: unknown) => error instanceof Failure && pattern.test(error.message);
const wait = (urls: Parameters<typeof awaitAnswers>[0], timeoutMs: number) =>
  awaitAnswers(urls, { version: '2.0.0' }, timeoutMs, signal);

test('a health address that redirects is refused before anything is changed, with where it leads', async (t) => {
  const urls = await app(t, { status: 301, location: 'https://shop.example.org/health' });
  await assert.rejects(preflightAnswers(urls, signal), (error: Failure) => {
    assert.match(error.message, /HEALTH_URL: .* answers 301, a redirect to https:\/\/shop\.example\.org/);
    assert.match(error.next ?? '', /set HEALTH_URL to where it leads/);
    return error.exit !== 0;
  });
});

test('a new version that begins to redirect is not well', async (t) => {
  const urls = await app(t, { status: 302, location: '/login' });
  await assert.rejects(wait(urls, 300), says(/answers 302, a redirect to \/login/));
});

test('a health address that flaps is not trusted: good answers count in a row', async (t) => {
  const ill: Answer = { status: 503, text: 'starting' };
  const urls = await app(t, WELL, WELL, ill, WELL, ill, WELL, WELL, WELL);
  await wait(urls, 10_000);
  assert.equal(urls.asked(), 8);
});

test('one that flaps for ever is a failure that says what it answered', async (t) => {
  const flaps = Array.from({ length: 200 }, (_, i): Answer => (i % 3 === 2 ? { status: 502 } : WELL));
  await assert.rejects(wait(await app(t, ...flaps), 1_000), says(/^after .* answers 502/));
});

test('a slow answer is an answer', async (t) => {
  await wait(await app(t, { ...WELL, after: 700 }), 5_000);
});

test('an address that never answers is a failure after its time, not a wait without end', async (t) => {
  const urls = await app(t, { ...WELL, after: 30_000 });
  const started = Date.now();
  await assert.rejects(wait(urls, 200), says(/gives no answer in 5(\.0)? s/));
  assert.ok(Date.now() - started < 15_000);
});

test('200 with an illness in its words is one', async (t) => {
  await assert.rejects(wait(await app(t, { text: '{"status":"unhealthy"}' }), 200), says(/says "unhealthy"/));
});
