import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry, State } from '../../../lib/backup/catalog.ts';
import { dateOf, idOf } from '../../../lib/backup/id.ts';
import {
  judge,
  judgeByAge,
  keep,
  type Policy,
  parsePolicy,
  refuseAbsurd,
  shortestPeriod,
} from '../../../lib/backup/retention.ts';

const DAY = 86_400_000;
const entry = (id: string, state: State = 'complete'): Entry => ({
  id,
  state,
  started: dateOf(id) as Date,
  bytes: 1,
  objects: [],
});
const at = (text: string) => new Date(`${text}Z`);
const entries = (...ids: string[]) => ids.map((id) => entry(id));

/** The ids that are kept, and why. */
const kept = (ids: string[], policy: string, now: string) =>
  Object.fromEntries(
    [...keep(entries(...ids), parsePolicy(policy), at(now))].map(([id, why]) => [id, why.join('+')]),
  );

test('a policy is read as it is written, and one that keeps nothing is refused', () => {
  assert.deepEqual(parsePolicy('daily=7, weekly=4,monthly=3'), {
    daily: 7,
    weekly: 4,
    monthly: 3,
    yearly: 0,
  });
  for (const [raw, problem] of [
    ['daily=0', /would keep nothing/],
    ['weekly=0,daily=0', /would keep nothing/],
    ['hourly=3', /"hourly=3" is not daily=N/],
    ['daily=-1', /"daily=-1" is not/],
    ['daily', /"daily" is not/],
    ['daily=7;weekly=4', /is not/],
    ['constructor=3', /is not/],
  ] as const)
    assert.throws(() => parsePolicy(raw), problem, raw);
});

test('the newest of each day, week, month and year is kept, for as many as have one', () => {
  const table: Array<[string, string[], string, Record<string, string>]> = [
    [
      'two of one day',
      ['20261120-030000', '20261120-150000'],
      'daily=7',
      { '20261120-150000': 'newest+daily' },
    ],
    [
      'a pause of three months costs nothing that was there before it',
      ['20260801-030000', '20260802-030000', '20261120-030000'],
      'daily=3',
      { '20260801-030000': 'daily', '20260802-030000': 'daily', '20261120-030000': 'newest+daily' },
    ],
    [
      'weeks begin on Monday, across the turn of the year',
      ['20261227-030000', '20261228-030000', '20270103-030000', '20270104-030000'],
      'weekly=2',
      { '20270103-030000': 'weekly', '20270104-030000': 'newest+weekly' },
    ],
    [
      'days are those of UTC, whatever summer time does to the hour of a cron entry',
      ['20261024-235900', '20261025-005900', '20261025-015900'],
      'daily=2',
      { '20261024-235900': 'daily', '20261025-015900': 'newest+daily' },
    ],
    [
      'one backup may be kept for several reasons',
      ['20251231-030000', '20261031-030000', '20261101-030000'],
      'daily=1,monthly=2,yearly=2',
      {
        '20251231-030000': 'yearly',
        '20261031-030000': 'monthly',
        '20261101-030000': 'newest+daily+monthly+yearly',
      },
    ],
    [
      'what is from the future is kept, and counts for nothing',
      ['20261119-030000', '20261120-030000', '20301120-030000'],
      'daily=1',
      { '20261120-030000': 'newest+daily', '20301120-030000': 'in the future' },
    ],
  ];
  for (const [name, ids, policy, expected] of table) {
    const now = name.includes('turn') ? '2027-01-05T00:00:00' : '2026-11-21T00:00:00';
    assert.deepEqual(kept(ids, policy, now), expected, name);
  }
});

/** A generator of numbers that is the same in each run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('whatever there is and whatever the policy, the newest complete backup is never deleted', () => {
  const next = random(7);
  const upTo = (n: number) => Math.floor(next() * n);
  for (let round = 0; round < 500; round += 1) {
    const now = new Date(Date.UTC(2026, upTo(12), 1 + upTo(28), upTo(24)));
    const states: State[] = ['complete', 'complete', 'partial', 'unfinished'];
    const ids = new Set(
      Array.from({ length: 1 + upTo(30) }, () => idOf(new Date(now.getTime() - upTo(900) * (DAY / 2)))),
    );
    const all = [...ids].sort().map((id) => entry(id, states[upTo(4)]));
    const policy: Policy = { daily: upTo(4), weekly: upTo(3), monthly: upTo(3), yearly: upTo(2) };
    const newest = all.findLast(({ state }) => state === 'complete');
    for (const verdicts of [judge(all, policy, now), judgeByAge(all, upTo(400) * DAY, now)]) {
      assert.equal(verdicts.length, all.length);
      const reasons = verdicts.find((v) => v.entry === newest)?.reasons;
      if (newest)
        assert.notEqual(reasons?.length, 0, `${newest.id} of ${[...ids]} by ${JSON.stringify(policy)}`);
    }
    // A policy keeps no more than it says of each period, and the newest.
    const complete = judge(all, policy, now).filter(
      (v) => v.entry.state === 'complete' && v.reasons.length > 0,
    );
    assert.ok(complete.length <= 1 + policy.daily + policy.weekly + policy.monthly + policy.yearly);
  }
});

test('partial backups push no complete one out, and unfinished ones go after a day', () => {
  const all = [
    entry('20261117-030000'),
    entry('20261118-030000', 'partial'),
    entry('20261119-030000', 'partial'),
    entry('20261119-040000', 'unfinished'),
    entry('20261120-230000', 'unfinished'),
  ];
  const verdicts = judge(all, parsePolicy('daily=1'), at('2026-11-21T03:00:00'));
  assert.deepEqual(
    verdicts.map((v) => v.reasons.join('+')),
    ['newest+daily', '', 'newest+daily', '', 'may be in progress'],
  );
});

test('nothing is deleted while something is wrong with what would be left', () => {
  const policy = parsePolicy('daily=7');
  const now = at('2026-11-21T03:10:00');
  const table: Array<[string, Entry[], RegExp | undefined]> = [
    ['a nightly one that runs late', entries('20261120-030000'), undefined],
    ['36 hours', entries('20261119-150959'), /20261119-150959, is 36 h 0 min old, and they should be daily/],
    ['failures since', [entry('20261112-030000'), entry('20261121-030000', 'partial')], /is 9 d 0 h old/],
    ['none complete', [entry('20261121-030000', 'unfinished')], /there is no complete backup/],
    ['none at all', [], /there is no complete backup/],
    [
      'a clock that is ahead',
      entries('20261120-030000', '20261121-050000'),
      /20261121-050000 is from the future/,
    ],
  ];
  for (const [name, all, problem] of table) {
    if (problem) assert.throws(() => refuseAbsurd(all, policy, now), problem, name);
    else refuseAbsurd(all, policy, now);
  }
  // A weekly policy does not expect one each day.
  refuseAbsurd(entries('20261115-030000'), parsePolicy('weekly=4'), now);
  assert.equal(shortestPeriod(parsePolicy('monthly=3,yearly=1')).name, 'monthly');
});
