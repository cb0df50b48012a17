import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCompose, parseDirect, parseSqlite } from '../../../lib/backup/addresses.ts';
import { parseStore } from '../../../lib/backup/store.ts';
import { Secret } from '../../../lib/secret.ts';

test('an address of a compose service', () => {
  assert.deepEqual(parseCompose('compose://db/my%20app?user=o%27dd'), {
    ...{ via: 'compose', service: 'db', database: 'my app', user: "o'dd" },
    uri: 'compose://db/my%20app?user=o%27dd',
  });
  for (const raw of [
    'compose://db',
    'compose:///x',
    'compose://d b/x',
    'compose://db/a/b',
    'compose://db/x?pass=y',
    'compose://db;rm/x',
  ])
    assert.throws(() => parseCompose(raw), /is not compose:\/\/SERVICE\/DATABASE/, raw);
});

test('an address of a server keeps its password to itself', () => {
  const address = parseDirect('postgresql://us%40er:p%2Fa%23ss@db.example.org:6432/app?sslmode=require');
  assert.equal(address.uri, 'postgres://us%40er@db.example.org:6432/app');
  assert.equal(address.via, 'direct');
  assert.ok(address.via === 'direct');
  const { PGPASSWORD, ...env } = address.env;
  assert.deepEqual(env, { PGHOST: 'db.example.org', PGPORT: '6432', PGUSER: 'us@er', PGSSLMODE: 'require' });
  assert.ok(PGPASSWORD instanceof Secret);
  assert.equal(PGPASSWORD.reveal(), 'p/a#ss');
  for (const [raw, problem] of [
    ['postgres://u:p/w@host/db', /percent-encoded|is not postgres/],
    ['postgres://u:p@host', /is not postgres/],
    ['postgres:///db', /is not postgres|is not a URL/],
    ['postgres://h/db?host=/tmp', /has the parameter host/],
  ] as const)
    assert.throws(() => parseDirect(raw), problem, raw);
});

test('an address of a SQLite file names its part fit for a key', () => {
  assert.equal(parseSqlite('sqlite:///data/code_monet.db').name, 'code_monet');
  assert.equal(parseSqlite('sqlite:///data/odd%20na%2Fme.sqlite3').file, '/data/odd na/me.sqlite3');
  assert.equal(parseSqlite('sqlite:///data/o;d d.db').name, 'o_d_d');
  assert.throws(() => parseSqlite('sqlite://data/x.db'), /absolute path/);
});

test('a store is a bucket or a directory, and a placeholder is neither', () => {
  assert.deepEqual(parseStore('s3://bloaty-backups-x7/'), {
    kind: 's3',
    bucket: 'bloaty-backups-x7',
    prefix: '',
  });
  assert.deepEqual(parseStore('s3://b-x/a/b//'), { kind: 's3', bucket: 'b-x', prefix: 'a/b' });
  assert.deepEqual(parseStore('file:///opt/my%20backups/'), { kind: 'file', directory: '/opt/my backups' });
  for (const raw of [
    's3://',
    's3://B',
    's3://a',
    'file://relative',
    'file:///',
    '/opt/x',
    'https://b/x',
    's3://bloaty-XXXX',
  ])
    assert.throws(() => parseStore(raw), Error, raw);
  assert.throws(() => parseStore('s3://bloaty-backups-xxxx'), /placeholder/);
});
