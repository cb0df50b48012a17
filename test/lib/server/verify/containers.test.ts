import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { redact } from '../../../../lib/secret.ts';
import { ERROR_LINE, NO_ERROR } from '../../../../lib/server/verify-host.ts';
import { containerRows, logRows, restartRows } from '../../../../lib/server/verify-machine.ts';

const NOW = new Date('2026-11-21T08:00:00Z');
const well = {
  ...{ service: 'web', name: '/bloaty-web-1', oneOff: 'False', state: 'running', health: 'healthy', exit: 0 },
  ...{ oom: false, restarts: 0, started: '2026-11-20T08:00:00Z', policy: 'unless-stopped' },
};
const seen = (services: string[], ...containers: Array<Partial<typeof well>>) =>
  [...services, '--', ...containers.map((one) => JSON.stringify({ ...well, ...one }))].join('\n');

test('containers: all run, and are healthy where they can say so', () => {
  const [row] = containerRows(seen(['web', 'worker'], {}, { service: 'worker', health: '' }));
  assert.equal(row?.state, 'ok');
  assert.equal(row?.found, '2 run, none is ill');
});

test('containers: an initialisation that exited with 0 did its job (D6.4: --wait fails on it)', () => {
  const init = { service: 'init', state: 'exited', health: '', policy: 'no' };
  assert.equal(containerRows(seen(['web', 'init'], {}, init))[0]?.state, 'ok');
});

for (const [what, change, found] of [
  ['stopped with 0 though it is to run for ever', { state: 'exited' }, 'web is stopped (exit 0)'],
  ['an initialisation that failed', { state: 'exited', exit: 1, policy: 'no' }, 'web is stopped (exit 1)'],
  ['unhealthy', { health: 'unhealthy' }, 'web is unhealthy'],
  ['in a crash loop', { state: 'restarting', exit: 1 }, 'web is restarting'],
  ['out of memory', { state: 'exited', exit: 137, oom: true }, 'web was killed for want of memory'],
  ['not started yet', { state: 'created' }, 'web is created'],
] as const)
  test(`containers: ${what} is a problem`, () => {
    const [row] = containerRows(seen(['web'], change));
    assert.deepEqual([row?.state, row?.found], ['problem', found]);
    assert.notEqual(row?.todo, '');
  });

test('containers: a service without a container is a problem; a one-off of another is none of its', () => {
  const rows = containerRows(seen(['web', 'db'], {}, { service: 'db', oneOff: 'True' }));
  assert.deepEqual(
    rows.map(({ found }) => found),
    ['db has no container'],
  );
});

test('restarts: a recent one and too many are problems, an old one is not', () => {
  const of = (change: Partial<typeof well>) => restartRows(seen(['web'], change), NOW)[0]?.state;
  assert.equal(of({}), 'ok');
  assert.equal(of({ restarts: 3 }), 'ok');
  assert.equal(of({ restarts: 4 }), 'problem');
  assert.equal(of({ restarts: 1, started: '2026-11-21T07:30:00Z' }), 'problem');
});

test('logs: a row a container, with its count and its last lines', () => {
  const rows = logRows('web-1\t7\tERROR one\nweb-1\t7\tERROR two\ndb-1\t1\tFATAL: password=hunter22');
  assert.deepEqual(
    rows.map(({ found, lines }) => [found, lines]),
    [
      ['db-1: 1 error line in the last hour', ['FATAL: password=[redacted]']],
      ['web-1: 7 error lines in the last hour', ['ERROR one', 'ERROR two']],
    ],
  );
  assert.equal(logRows('')[0]?.state, 'ok');
});

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

test('what looks like a secret in a log is not shown', () => {
  const key = ['AKIA', 'ABCDEFGHIJKLMNOP'].join('');
  for (const [line, shown] of [
    ['to postgres://app:s3cr/et@db:5432/x', 'to postgres://app:[redacted]@db:5432/x'],
    ['to postgres://app:s3cret@db:5432/x', 'to postgres://app:[redacted]@db:5432/x'],
    ['{"password": "a b", "n": 1}', '{"password": [redacted], "n": 1}'],
    ['API_KEY=abc123 next', 'API_KEY=[redacted] next'],
    ['Authorization: Bearer abcdefgh12345', 'Authorization: Bearer [redacted]'],
    [`key ${key}`, 'key [redacted]'],
    ['nothing to hide', 'nothing to hide'],
  ] as const)
    assert.equal(redact(line), shown);
});
