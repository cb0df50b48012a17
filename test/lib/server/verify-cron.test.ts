import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeCron, lastDue } from '../../../lib/server/verify-cron.ts';

// A Saturday.
const NOW = new Date('2026-11-21T08:00:00Z');
const due = (schedule: string, zoneMs = 0) => {
  const at = lastDue(schedule, NOW.getTime(), zoneMs);
  return at === undefined ? undefined : new Date(at).toISOString().slice(0, 16);
};

test('when an entry of cron was due last', () => {
  for (const [schedule, at] of [
    ['0 3 * * *', '2026-11-21T03:00'],
    ['0 8 * * *', '2026-11-21T08:00'],
    ['1 8 * * *', '2026-11-20T08:01'],
    ['17 0,12 * * *', '2026-11-21T00:17'],
    ['*/20 * * * *', '2026-11-21T08:00'],
    ['5-59/20 7 * * *', '2026-11-21T07:45'],
    ['0 6 * * 0', '2026-11-15T06:00'],
    ['0 6 * * 7', '2026-11-15T06:00'],
    ['0 6 * * mon-fri', '2026-11-20T06:00'],
    ['0 0 1 jan *', '2026-01-01T00:00'],
    // Either will do where both are restricted.
    ['0 0 1 * 5', '2026-11-20T00:00'],
    ['@daily', '2026-11-21T00:00'],
    ['0 0 30 2 *', undefined],
    ['nonsense', undefined],
  ] as const)
    assert.equal(due(schedule), at, schedule);
});

test("cron goes by the host's zone", () => {
  assert.equal(due('0 3 * * *', 2 * 3_600_000), '2026-11-21T01:00');
});

const seconds = (time: string) => Date.parse(time) / 1000;
interface Shape {
  owner?: string;
  mode?: string;
  made?: string;
  schedule?: string;
  log?: [string, string] | undefined;
  job?: string;
  command?: string;
  more?: string;
}
const file = ({
  owner = 'root',
  mode = '644',
  made = '2026-01-01T00:00Z',
  job = 'backup',
  ...more
}: Shape) => {
  const { schedule = '0 3 * * *', log, command = 'tsx x.ts' } = more;
  const lines = [
    `F${owner} ${mode} ${seconds(made)} /etc/cron.d/bloaty-${job}`,
    'C# Written by hand',
    'CPATH=/usr/bin:/bin',
    `C${schedule} ec2-user ${command} >> /var/log/opsbook/bloaty-${job}.log 2>&1`,
  ];
  if (log) lines.push(`L${seconds(log[0])} 120 /var/log/opsbook/bloaty-${job}.log`, `T${log[1]}`);
  if (more.more) lines.push(more.more);
  return ['Z+0000', ...lines].join('\n');
};
const RAN: [string, string] = ['2026-11-21T03:00:09Z', '2026-11-21T03:00:09Z backup: done (9.1 s)'];
const judged = (shape: Shape, job = 'backup') => judgeCron(file({ job, ...shape }), 'bloaty', [], NOW)[0];

test('cron: an entry that ran when it was due, and ended well', () => {
  assert.equal(judged({ log: RAN })?.state, 'ok');
});

for (const [what, shape, found] of [
  ["a file that is not root's", { owner: 'ec2-user', log: RAN }, /is ec2-user's: cron ignores it/],
  ['a file that others may write', { mode: '664', log: RAN }, /others may write/],
  [
    "✗ G1: an entry that never ran, since its log is not its user's",
    { log: undefined },
    /it never ran, due 5 h 0 min ago/,
  ],
  ['one that ran yesterday only', { log: ['2026-11-20T03:00:09Z', RAN[1]] }, /it last ran 28 h 59 min ago/],
  [
    'a run that failed last',
    { log: [RAN[0], '2026-11-21T03:00:09Z backup: error: the store cannot be reached'] },
    /its last run failed, 4 h 59 min ago/,
  ],
  ['a file whose last line has no newline', { log: RAN, more: 'N' }, /has no newline: cron ignores it/],
  ['a % that ends the command (D9.1)', { log: RAN, command: 'date +%F' }, /a % in .* ends its command/],
  ['a crash', { log: [RAN[0], 'Node.js v24.1.0'] }, /its last run failed/],
  ['a command that is not there', { log: [RAN[0], '/bin/sh: 1: tsx: not found'] }, /its last run failed/],
] as const)
  test(`cron: ${what}`, () => {
    const row = judged(shape as Shape);
    assert.equal(row?.state, 'problem');
    assert.match(row?.found ?? '', found);
  });

test('cron: an entry that was made after it would have been due is not late', () => {
  assert.equal(judged({ made: '2026-11-21T07:00Z' })?.state, 'ok');
});

test('cron: a run has two hours before it is late', () => {
  assert.equal(judged({ schedule: '0 7 * * *', log: ['2026-11-20T07:00:09Z', RAN[1]] })?.state, 'ok');
});

test('cron: that verify found a problem last time is not a problem of its own for ever', () => {
  const log: [string, string] = [RAN[0], '2026-11-21T03:00:09Z verify-server: error: disk: / is full'];
  assert.equal(judged({ log }, 'verify')?.state, 'ok');
});

test('cron: an entry that the settings schedule and the host has not (G1 65)', () => {
  const rows = judgeCron('Z+0000', 'my.app', ['backup'], NOW);
  assert.match(rows[0]?.found ?? '', /\/etc\/cron\.d\/my-app-backup is not there/);
});

test('cron: an entry of another app, whose name begins alike, is none of ours', () => {
  assert.deepEqual(judgeCron(file({ job: 'two-backup' }), 'bloaty', [], NOW), []);
});

test('H13: a certbot entry that had nothing to renew, and so wrote nothing, is no problem', () => {
  for (const [job, log] of [
    ['certbot', undefined],
    ['renew', undefined],
    [
      'renew',
      ['2026-10-01T00:17:09Z', '2026-10-01T00:17:09Z renew-certificates: ~ certificate x: 90 days left'],
    ],
  ] as const)
    assert.equal(judged({ schedule: '17 0,12 * * *', log: log && [...log] }, job)?.state, 'ok', job);
  const log: [string, string] = [
    '2026-10-01T00:17:09Z',
    '2026-10-01T00:17:09Z renew-certificates: error: port 80 is shut',
  ];
  assert.equal(judged({ log }, 'renew')?.state, 'problem');
});

test('cron: that nobody runs the entries is found before one is late', () => {
  assert.equal(judgeCron(`D\n${file({ log: RAN })}`, 'bloaty', [], NOW)[0]?.found, 'cron does not run');
});
