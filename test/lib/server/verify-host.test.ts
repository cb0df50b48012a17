import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import {
  ERROR_LINE,
  judgeClock,
  judgeReboot,
  NO_ERROR,
  parseInspection,
} from '../../../lib/server/verify-host.ts';

/** Whether grep, as it is run on a host, takes the line for an error. */
function isError(line: string): boolean {
  try {
    execFileSync('sh', ['-c', `grep -aE '${ERROR_LINE}' | grep -aqvE '${NO_ERROR}'`], { input: line });
    return true;
  } catch {
    return false;
  }
}

test('logs: what the languages and programs of the guides call an error is one', () => {
  for (const line of [
    '2026-11-21 07:00:00 UTC [71] FATAL:  password authentication failed',
    '2026-11-21 07:00:00 UTC [71] FATAL:  the database system is in recovery mode',
    '2026/11/21 07:00:00 [error] 30#30: *1 connect() failed',
    '{"level":"error","ts":1,"msg":"no"}',
    '{"level":50,"msg":"no"}',
    'time=2026 level=error msg=no',
    'TypeError: Cannot read properties of undefined',
    'Traceback (most recent call last):',
    'sqlalchemy.exc.OperationalError: no such table',
    'panic: runtime error',
    'ERROR:    Exception in ASGI application',
  ])
    assert.ok(isError(line), line);
});

test('logs: what only speaks of errors is none', () => {
  for (const line of [
    'GET /error-pages/404.css 200',
    '0 errors, 0 warnings',
    '{"level":"info","errors":0}',
    'level=info msg="no error"',
    'X-NO-ERROR-HERE',
    '{"level":500}',
    '2026-11-21 07:00:00.920 UTC [116] FATAL:  the database system is starting up',
  ])
    assert.ok(!isError(line), line);
});

test('clock: more than five seconds off is a problem, unless the way explains it', () => {
  const state = (offsetMs: number, uncertainMs: number, ntp = '') =>
    judgeClock({ offsetMs, uncertainMs }, ntp)[0]?.state;
  assert.equal(state(-5_200, 100), 'problem');
  assert.equal(state(5_200, 300), 'ok');
  assert.equal(state(10, 5, 'NTPSynchronized=no\n'), 'warning');
  assert.equal(state(10, 5, 'NTPSynchronized=yes\n'), 'ok');
});

test('reboot: one that is pending is said with what wants it', () => {
  assert.equal(judgeReboot('')[0]?.state, 'ok');
  assert.match(judgeReboot('required\nlinux-image\nlibc6\n')[0]?.found ?? '', /by linux-image, libc6/);
});

const part = (name: string, body: string, end = ' 0 ') => `\x1e${name}\n${body}\x1f${end}\n`;
const ns = (ms: number) => `${ms}000000\n`;

test('what was read is taken apart, with the clock as NTP reckons it', () => {
  // Half a second there, three quarters back, two seconds of work; the host is ten seconds ahead.
  const text = `${part('from', ns(11_500))}${part('disk', 'a\nb\n')}${part('ports', '', ' 1 ss: not found')}${part('to', ns(13_500))}`;
  const read = parseInspection(text, 1_000, 4_250, 'host');
  assert.deepEqual(read.part('disk'), { text: 'a\nb\n', failed: '' });
  assert.equal(read.part('ports').failed, 'ss: not found');
  assert.equal(read.clock.uncertainMs, 625);
  assert.ok(Math.abs(read.clock.offsetMs - 10_000) <= read.clock.uncertainMs);
});

test('an inspection that was cut short is an error, not an empty finding', () => {
  assert.throws(() => parseInspection(part('from', ns(1)), 0, 1, 'host'), /host: the check was cut short/);
});
