import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { notify } from '../../lib/run.ts';
import { Secret } from '../../lib/secret.ts';
import { checkHealth } from '../../lib/server/verify-outside.ts';
import { resolveSettings } from '../../lib/settings.ts';
import { ask, healthUrlSettings, illness, WebAddress } from '../../lib/web.ts';
import { httpServer } from './kit.ts';

const { signal } = new AbortController();

test('H13: an address with a password is sent with it, and shown without', async (t) => {
  const seen: unknown[] = [];
  const { url, requests } = await httpServer(t, (response) => {
    seen.push(response.req.headers.authorization);
    response.end('ok');
  });
  const { HEALTH_URL } = await resolveSettings(healthUrlSettings, {
    HEALTH_URL: `${url.replace('//', '//ops:p%40ss%2Fwörd-hush@')}/health?x=1`,
  });
  assert.ok(HEALTH_URL);
  for (const text of [`${HEALTH_URL}`, JSON.stringify({ HEALTH_URL }), inspect({ HEALTH_URL })])
    assert.doesNotMatch(text, /hush|ops:/);
  assert.equal(String(HEALTH_URL), `${url}/health?x=1`);
  const row = await checkHealth(HEALTH_URL, signal);
  assert.equal(row.state, 'ok');
  assert.equal(row.found, `${url}/health?x=1 answers 200`);
  assert.deepEqual(seen, [`Basic ${Buffer.from('ops:p@ss/wörd-hush').toString('base64')}`]);
  assert.match(requests[0]?.path ?? '', /^\/health\?x=1&opsbook=/);
});

test('H13: nor is it shown where nobody answers, where a redirect repeats it, or where it is a wrong address', async (t) => {
  const nobody = new WebAddress('http://ops:hush-hush@127.0.0.1:9/health');
  const unheard = illness(nobody, await ask(nobody, signal)) ?? '';
  assert.match(unheard, /^http:\/\/127\.0\.0\.1:9\/health does not answer/);
  const { url } = await httpServer(t, (response) =>
    response.writeHead(302, { location: 'http://ops:hush-hush@elsewhere/' }).end(),
  );
  const address = new WebAddress(url);
  const led = illness(address, await ask(address, signal)) ?? '';
  assert.match(led, /a redirect to http:\/\/elsewhere\/$/);
  for (const HEALTH_URL of [
    'ftp://ops:hush-hush@host/',
    'http://ops:hush/hush@host/',
    'http://ops:hush hush@ho st/',
  ])
    await assert.rejects(resolveSettings(healthUrlSettings, { HEALTH_URL }), (error: Error) => {
      assert.doesNotMatch(error.message, /hush.*@/);
      return true;
    });
});

test('H13: a webhook may have a password, and a failure to reach one tells nothing of it', async (t) => {
  const seen: unknown[] = [];
  const { url } = await httpServer(t, (response) => {
    seen.push(response.req.headers.authorization);
    response.end('ok');
  });
  assert.equal(await notify(new Secret(url.replace('//', '//ops:hush@')), 'text'), undefined);
  assert.deepEqual(seen, [`Basic ${Buffer.from('ops:hush').toString('base64')}`]);
  const problem = await notify(new Secret('http://ops:hush@127.0.0.1:9/?token=hush'), 'text');
  assert.match(problem ?? '', /^127\.0\.0\.1:9: /);
  assert.doesNotMatch(problem ?? '', /hush/);
});

test('A7: of an answer without an end only the beginning is read', async (t) => {
  const chunk = 'x'.repeat(10_000);
  let sent = 0;
  const { url } = await httpServer(t, (response) => {
    const more = () => {
      while (!response.destroyed && response.write(chunk)) sent += chunk.length;
    };
    response.on('drain', more);
    more();
  });
  const { status, text } = await ask(new WebAddress(url), signal);
  assert.equal(status, 200);
  assert.equal(text.length, 65_536);
  assert.ok(sent < 50_000_000, `${sent} bytes were sent`);
});
