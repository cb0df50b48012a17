import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { catalog } from '../../../lib/backup/catalog.ts';
import { examiner } from '../../../lib/backup/examine.ts';
import { dateOf } from '../../../lib/backup/id.ts';
import { freshest } from '../../../lib/backup/listing.ts';
import { judge, judgeByAge, refuseAbsurd, refuseCollapse } from '../../../lib/backup/prune.ts';
import { parsePolicy } from '../../../lib/backup/retention.ts';
import { Missing, type Store, Unreadable } from '../../../lib/backup/store.ts';

const HOUR = 3_600_000;
type Objects = Record<string, { text?: string; bytes?: number; at: Date }>;

/** A store of these objects, which may be closed to readers. */
const holding = (objects: Objects, readable = true) =>
  ({
    uri: 's3://b/app',
    address: (key: string) => `s3://b/app/${key}`,
    async *list(prefix: string) {
      for (const [key, { text = '', bytes = text.length, at }] of Object.entries(objects).sort())
        if (key.startsWith(prefix)) yield { key, bytes, modified: at };
    },
    async get(key: string) {
      if (!readable) throw new Unreadable(`GetObject ${key}: refused`);
      if (!objects[key]) throw new Missing(`${key} is not there`);
      return Readable.from([Buffer.from(objects[key].text ?? '')]);
    },
  }) as unknown as Store;

interface Shape {
  parts?: string[];
  bytes?: number;
  manifest?: object;
  /** Hours from the time in the id until it was stored. */
  stored?: number;
}

/** The objects of a backup of SQLite databases that took a minute. */
function backup(
  id: string,
  { parts = ['shop'], bytes = 100, manifest = {}, stored = 0 }: Shape = {},
): Objects {
  const started = dateOf(id) as Date;
  const at = new Date(started.getTime() + 60_000 + stored * HOUR);
  const sha256 = 'a'.repeat(64);
  const all = parts.map((name) => ({
    ...{ kind: 'sqlite', name, source: name, bytesIn: bytes, bytesOut: bytes, tables: [] },
    dump: { key: `backups/${id}/${name}.db`, bytes, sha256 },
  }));
  const said = {
    ...{ version: 1, app: 'app', id, tool: 'x', host: 'h', recipient: null, complete: true, parts: all },
    ...{ started: started.toISOString(), finished: new Date(started.getTime() + 60_000).toISOString() },
    ...manifest,
  };
  return {
    [`backups/${id}/manifest.json`]: { text: JSON.stringify(said), at },
    ...Object.fromEntries(all.map(({ dump }) => [dump.key, { bytes, at }])),
  };
}

const GOOD = ['20261118-030000', '20261119-030000', '20261120-030000'];
const good = () => Object.assign({}, ...GOOD.map((id) => backup(id))) as Objects;
const now = new Date('2026-11-21T03:10:00Z');

async function examined(objects: Objects, readable = true) {
  const store = holding(objects, readable);
  const examine = examiner({ app: 'app', store });
  const found = [];
  for (const entry of await catalog(store)) found.push(await examine(entry));
  return found;
}

/** What a writer may put under an id, and why it does not count. */
const FORGED: Array<[string, string, Objects, RegExp]> = [];
const forge = (name: string, id: string, objects: Objects, why: RegExp) =>
  FORGED.push([name, id, objects, why]);
const LATER = '20261121-030000';
forge(
  'two bytes',
  LATER,
  { [`backups/${LATER}/manifest.json`]: { text: '{}', at: now } },
  /manifest version/,
);
forge('no JSON', LATER, { [`backups/${LATER}/manifest.json`]: { text: '{', at: now } }, /not JSON/);
forge('endless', LATER, { [`backups/${LATER}/manifest.json`]: { bytes: 9e9, at: now } }, /9000000000 bytes/);
forge('another id', LATER, { ...backup(LATER, { manifest: { id: '20261120-030000' } }) }, /is of 20261120/);
forge('another app', LATER, { ...backup(LATER, { manifest: { app: 'other' } }) }, /of the app other/);
forge('a newer version', LATER, { ...backup(LATER, { manifest: { version: 9 } }) }, /manifest version 9/);
forge('no parts', LATER, backup(LATER, { parts: [] }), /it has no parts/);
forge('partial', LATER, backup(LATER, { manifest: { complete: false } }), /differ in whether it is complete/);
forge(
  'no dump',
  LATER,
  { ...backup(LATER), [`backups/${LATER}/shop.db`]: { bytes: 3, at: now } },
  /truncated: 3 of 100/,
);
forge(
  'made before its time',
  LATER,
  backup(LATER, { stored: -40 }),
  /stored 39 h 59 min before the time in its id/,
);
forge(
  'dated back',
  '20261120-040000',
  backup('20261120-040000', { stored: 22 }),
  /stored 22 h 0 min after it was finished/,
);
forge(
  'dated back, by its manifest too',
  '20261101-040000',
  backup('20261101-040000', { stored: 480, manifest: { finished: '2026-11-21T03:00:00Z' } }),
  /its manifest and the time in its id differ/,
);
forge(
  'of a dump of elsewhere',
  LATER,
  {
    ...backup(LATER, {
      manifest: {
        parts: [
          {
            kind: 'sqlite',
            name: 'shop',
            source: 's',
            bytesIn: 1,
            bytesOut: 1,
            tables: [],
            dump: { key: 'backups/20261120-030000/shop.db', bytes: 100, sha256: 'a'.repeat(64) },
          },
        ],
      },
    }),
  },
  /is not below backups\/20261121-030000\/ \(it says "backups\/20261120-030000\/shop.db"\)/,
);

test('A4: what a writer plants neither counts nor is deleted, and lets nothing genuine be deleted', async () => {
  for (const [name, id, objects, why] of FORGED) {
    const found = await examined({ ...good(), ...objects });
    const doubts = found.filter(({ doubt }) => doubt);
    assert.deepEqual(
      doubts.map((e) => e.id),
      [id],
      name,
    );
    assert.match(doubts[0]?.doubt?.message ?? '', why, name);
    const policy = parsePolicy('daily=3');
    refuseAbsurd(found, policy, now);
    for (const verdicts of [judge(found, policy, now), judgeByAge(found, 0, now)]) {
      const kept = verdicts.filter(({ reasons }) => reasons.length > 0).map(({ entry }) => entry.id);
      assert.ok(kept.includes(id) && kept.includes('20261120-030000'), name);
    }
    assert.ok(
      judge(found, policy, now).every(({ reasons }) => reasons.length > 0),
      name,
    );
  }
});

test('A4: what may not be read counts only where this host remembers it; freshness says what it did not see', async () => {
  const found = await examined(good(), false);
  assert.throws(() => refuseAbsurd(found, parsePolicy('daily=3'), now), {
    message: 'there is no complete backup that counts: nothing is deleted',
    next: 'run prune once with the credentials of a reader that may delete',
  });
  const store = holding({ ...good(), ...backup(LATER, { stored: -40 }) }, false);
  const { newest, warnings } = await freshest(await catalog(store), examiner({ app: 'app', store }));
  assert.equal(newest?.id, '20261120-030000', 'stored before its time');
  assert.match(warnings.join(), /backup 20261120-030000 was not read: whether it is one is unknown/);
});

test('A4: the age is that of the newest, also where this host remembers an older one and may read none', async () => {
  const remembering = async (objects: Objects) => {
    const store = holding(objects, false);
    const reader = examiner({ app: 'app', store: holding(objects) });
    const nobody = examiner({ app: 'app', store });
    // As a host that took the backups of three days, and no other.
    return freshest(await catalog(store), (entry) => (GOOD.includes(entry.id) ? reader : nobody)(entry));
  };
  const { newest, warnings } = await remembering({ ...good(), ...backup(LATER) });
  assert.equal(newest?.id, LATER);
  assert.deepEqual(warnings.length, 1);
  assert.match(warnings[0] ?? '', /^backup 20261121-030000 was not read: whether it is one is unknown/);
  const planted = await remembering({ ...good(), ...backup(LATER, { stored: -40 }) });
  assert.equal(planted.newest?.id, '20261120-030000', 'stored before its time');
  assert.match(planted.warnings[0] ?? '', /^backup 20261121-030000 does not count: /);
});

test('A4: what would be deleted is not replaced by next to nothing', async () => {
  const large = Object.assign({}, ...GOOD.map((id) => backup(id, { bytes: 1e6 }))) as Objects;
  const verdicts = async (bytes: number) =>
    judge(await examined({ ...large, ...backup(LATER, { bytes }) }), parsePolicy('daily=1'), now);
  refuseCollapse(await verdicts(2e5));
  const tiny = await verdicts(10);
  assert.throws(
    () => refuseCollapse(tiny),
    /sqlite shop has 10 B in 20261121-030000 and 1.0 MB in 20261118-030000, which would be deleted/,
  );
});

test('F2: the newest backup of each part is kept', async () => {
  const found = await examined({
    ...backup('20261110-030000', { parts: ['shop', 'users'] }),
    ...backup('20261111-030000', { parts: ['shop', 'users'] }),
    ...backup('20261119-030000'),
    ...backup('20261120-030000'),
  });
  const told = (verdicts: ReturnType<typeof judge>) => verdicts.map(({ reasons }) => reasons.join('+'));
  assert.deepEqual(told(judge(found, parsePolicy('daily=1'), now)), [
    '',
    'the last with users',
    '',
    'newest+daily',
  ]);
  assert.deepEqual(told(judgeByAge(found, 0, now)), ['', 'the last with users', '', 'newest']);
});

test('A10: a backup that is still being written is in progress, however long ago it began', async () => {
  const at = new Date(now.getTime() - HOUR);
  const found = await examined({ ...good(), 'backups/20261117-030000/shop.db': { bytes: 1, at } });
  const [first] = judge(found, parsePolicy('daily=3'), now);
  assert.deepEqual(first?.reasons, ['may be in progress']);
});
