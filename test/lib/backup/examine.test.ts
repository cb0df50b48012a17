import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { contentKey, measureOf } from '../../../lib/backup/blobs.ts';
import { catalog } from '../../../lib/backup/catalog.ts';
import { decrypter } from '../../../lib/backup/encryption.ts';
import { doubtPlain, examineAll, examiner } from '../../../lib/backup/examine.ts';
import { dateOf } from '../../../lib/backup/id.ts';
import { findBackup } from '../../../lib/backup/open.ts';
import { storedBytes } from '../../../lib/backup/references.ts';
import { judge, judgeByAge, keepLarger, parsePolicy, refuseAbsurd } from '../../../lib/backup/retention.ts';
import { Missing, type Store, Unreadable } from '../../../lib/backup/store.ts';
import { entryLine } from '../../../lib/backup/tree.ts';
import { onlyDescribe } from '../../../lib/script.ts';

onlyDescribe(() => {});
const { freshest } = await import('../../../scripts/backup/list.ts');

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
  /** What each dump has by its own account. */
  said?: number;
  recipient?: string | null;
  manifest?: object;
  /** Hours from the time in the id until it was stored. */
  stored?: number;
}

/** The objects of a backup of SQLite databases that took a minute. */
function backup(
  id: string,
  {
    parts = ['shop'],
    bytes = 100,
    said: out = bytes,
    recipient = null,
    manifest = {},
    stored = 0,
  }: Shape = {},
): Objects {
  const started = dateOf(id) as Date;
  const at = new Date(started.getTime() + 60_000 + stored * HOUR);
  const sha256 = 'a'.repeat(64);
  const all = parts.map((name) => ({
    ...{ kind: 'sqlite', name, source: name, bytesIn: out, bytesOut: out, tables: [] },
    dump: { key: `backups/${id}/${name}.db${recipient ? '.age' : ''}`, bytes, sha256 },
  }));
  const said = {
    ...{ version: 1, app: 'app', id, tool: 'x', host: 'h', recipient, complete: true, parts: all },
    ...{ started: started.toISOString(), finished: new Date(started.getTime() + 60_000).toISOString() },
    ...manifest,
  };
  return {
    [`backups/${id}/manifest.json`]: { text: JSON.stringify(said), at },
    ...Object.fromEntries(all.map(({ dump }) => [dump.key, { bytes, at }])),
  };
}

const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

/** A backup of a directory with files of these sizes; of those in `lost` the store has nothing. */
function filesBackup(
  id: string,
  sizes: number[],
  { recipient = null, lost = [], said }: { recipient?: string | null; lost?: number[]; said?: number } = {},
): Objects {
  const suffix = recipient ? `.${recipient.slice(-8)}.age` : '';
  const hashes = sizes.map((size) => measureOf(Buffer.from(String(size))).sha256);
  const common = { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
  const lines = sizes.map((size, i) => {
    const sha256 = hashes[i] as string;
    return entryLine({ ...common, type: 'file', path: `${id}-${i}` as never, size, sha256 });
  });
  const text = [entryLine({ ...common, type: 'directory', path: '' as never }), ...lines].join('');
  const measure = measureOf(Buffer.from(text));
  const tree = { key: contentKey(measure.sha256, suffix), ...measure };
  const bytesIn = said ?? sizes.reduce((sum, size) => sum + size, 0);
  const part = {
    ...{ kind: 'directory', name: 'uploads', source: 'uploads', bytesIn, bytesOut: 0, tree },
    ...{ files: sizes.length, directories: 0, symlinks: 0 },
  };
  const at = dateOf(id) as Date;
  const encrypted = recipient ? 200 : 0;
  return {
    ...backup(id, { parts: [], manifest: { parts: [part] }, recipient }),
    [tree.key]: { text, bytes: tree.bytes + encrypted, at },
    ...Object.fromEntries(
      sizes.flatMap((size, i) =>
        lost.includes(size)
          ? []
          : [[contentKey(hashes[i] as string, suffix), { bytes: size + encrypted, at: new Date(0) }]],
      ),
    ),
  };
}

const GOOD = ['20261118-030000', '20261119-030000', '20261120-030000'];
const good = () => Object.assign({}, ...GOOD.map((id) => backup(id))) as Objects;
const now = new Date('2026-11-21T03:10:00Z');

async function examined(objects: Objects, readable = true) {
  const store = holding(objects, readable);
  const examine = examiner({ app: 'app', store });
  return examineAll(await catalog(store), examine, new AbortController().signal);
}

/** What prune would delete, and what it warns of. */
async function pruned(objects: Objects, policy: string, at = now) {
  const reader = { store: holding(objects), decrypter: decrypter(undefined) };
  const verdicts = judge(await examined(objects), parsePolicy(policy), at);
  const larger = await keepLarger(verdicts, storedBytes(reader));
  const deleted = larger.verdicts.filter((v) => v.reasons.length === 0).map((v) => v.entry.id);
  return { ...larger, deleted };
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
  /it says that it took 19 d 23 h: longer than the 14 d 0 h/,
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
  const after = (bytes: number) => pruned({ ...large, ...backup(LATER, { bytes }) }, 'daily=1');
  assert.deepEqual((await after(2e5)).deleted, GOOD);
  const { deleted, warnings } = await after(10);
  assert.deepEqual(deleted, GOOD.slice(0, 2), 'an honest shrink leaves one and prunes the rest');
  assert.match(
    warnings.join(),
    /^backup 20261120-030000 is kept: sqlite shop has 1.0 MB in it and 10 B in 20261121-030000, .* --force$/,
  );
});

test('A4: what a manifest says of its own sizes lets nothing genuine be deleted', async () => {
  const days = Array.from({ length: 20 }, (_, i) => `202611${String(i + 1).padStart(2, '0')}`);
  const forgers: Array<[string, (id: string) => Objects, (id: string) => Objects]> = [
    ['a dump', (id) => backup(id, { bytes: 5e9 }), (id) => backup(id, { bytes: 2, said: 5e9 })],
    [
      'contents',
      (id) => filesBackup(id, [3e9, 2e9]),
      (id) => filesBackup(id, [1, 5e9 + 1], { lost: [5e9 + 1] }),
    ],
    ['bytesIn', (id) => filesBackup(id, [3e9, 2e9]), (id) => filesBackup(id, [1], { said: 5e9 })],
  ];
  const last = days.slice(-7);
  for (const [name, genuine, forged] of forgers) {
    const objects = Object.assign(
      {},
      ...days.map((day) => genuine(`${day}-030000`)),
      ...last.map((day) => forged(`${day}-235900`)),
    );
    const { deleted, warnings } = await pruned(objects, 'daily=7');
    const gone = days.slice(0, -7).map((day) => `${day}-030000`);
    assert.deepEqual(deleted, gone, name);
    assert.equal(warnings.length, 7, name);
  }
});

test('A4: files that are there many times, or that moved, are not taken for a loss', async () => {
  const many = Array.from({ length: 30 }, () => 1000);
  const objects = { ...filesBackup('20261119-030000', many), ...filesBackup('20261120-030000', [1000]) };
  assert.deepEqual((await pruned(objects, 'daily=1')).deleted, ['20261119-030000']);
});

test('A4: where the list of files may not be read, how much would be left is unknown', async () => {
  const recipient = RECIPIENT;
  const ids = ['20261119-030000', '20261120-030000'];
  const objects = Object.assign({}, ...ids.map((id, i) => filesBackup(id, [9, i], { recipient }))) as Objects;
  const { deleted, warnings } = await pruned(objects, 'daily=1');
  assert.deepEqual(deleted, []);
  assert.match(
    warnings.join(),
    /^backup 20261119-030000 is kept: how much directory uploads has .* is unknown .*BACKUP_IDENTITY_FILE/,
  );
});

test('A4: an encrypted backup of files counts', async () => {
  const id = '20261120-030000';
  const objects = filesBackup(id, [10], { recipient: RECIPIENT });
  const doubt = async () => (await examined(objects))[0]?.doubt?.message;
  assert.equal(await doubt(), undefined);
  const tree = Object.entries(objects).find(([key, { text }]) => key.startsWith('content/') && text);
  (tree?.[1] as { bytes: number }).bytes = 3;
  assert.match((await doubt()) ?? '', /is truncated: 3 of \d+ bytes/);
});

test('A4: what else lies in the folder of a backup does not make it doubtful', async () => {
  const [id] = GOOD;
  const found = await examined({ ...good(), [`backups/${id}/.DS_Store`]: { bytes: 6148, at: now } });
  assert.deepEqual(
    found.flatMap(({ doubt }) => doubt?.message ?? []),
    [],
  );
});

test('A4: a plain backup that was put where backups are encrypted is passed over', async () => {
  const [first = '', second = '', newest = ''] = GOOD;
  const objects = {
    ...backup(first),
    ...backup(second, { recipient: RECIPIENT }),
    ...backup(newest),
  };
  const store = holding(objects);
  const by = 'BACKUP_RECIPIENT';
  const find = (wanted: string, how: Parameters<typeof findBackup>[3]) =>
    findBackup(store, 'app', wanted, how);
  const { manifest, passed } = await find('latest', by);
  assert.equal(manifest.id, second);
  assert.match(
    passed.map(({ message }) => message).join(),
    /^backup 20261120-030000 is not encrypted, though BACKUP_RECIPIENT is set/,
  );
  assert.equal((await find('latest', undefined)).manifest.id, newest, '--allow-plain');
  await assert.rejects(find(newest, by), { next: /--allow-plain/ });
  const fresh = await freshest(await catalog(store), examiner({ app: 'app', store, encryptedBy: by }));
  assert.equal(fresh.newest?.id, second);
  const doubts = (how: Parameters<typeof findBackup>[3]) =>
    examined(objects).then((all) => doubtPlain(all, how).flatMap(({ id, doubt }) => (doubt ? id : [])));
  assert.deepEqual(
    await doubts(by),
    [newest],
    'those before the first encrypted one are older than encryption',
  );
  assert.deepEqual(await doubts(undefined), []);
});

test('A10: a backup that took four days counts; one that says it took a month is told', async () => {
  const id = '20261101-030000';
  const took = async (days: number) => {
    const finished = new Date((dateOf(id) as Date).getTime() + days * 24 * HOUR).toISOString();
    return (await examined(backup(id, { stored: days * 24, manifest: { finished } })))[0]?.doubt?.message;
  };
  assert.equal(await took(4), undefined);
  assert.match(
    (await took(15)) ?? '',
    /it says that it took 15 d 0 h: longer than the 14 d 0 h that one may take/,
  );
});

test('A4: the list of files that backups share is looked for once', async () => {
  const one = filesBackup('20261120-030000', [10]);
  const [key] = Object.entries(one).find(([name, { text }]) => name.startsWith('content/') && text) ?? [''];
  const json = (one['backups/20261120-030000/manifest.json']?.text ?? '').replaceAll('20261120', '20261119');
  const text = json.replaceAll('2026-11-20', '2026-11-19');
  const at = dateOf('20261119-030000') as Date;
  const store = holding({ ...one, 'backups/20261119-030000/manifest.json': { text, at } });
  const asked: string[] = [];
  const examine = examiner({
    app: 'app',
    store: {
      ...store,
      list(prefix) {
        asked.push(prefix);
        return store.list(prefix);
      },
    },
  });
  const found = await examineAll(await catalog(store), examine, new AbortController().signal);
  assert.deepEqual([found.length, ...found.flatMap(({ doubt }) => doubt?.message ?? [])], [2]);
  assert.deepEqual(asked, [key]);
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
