import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCompose, parseDirect, parseSqlite } from '../../../lib/backup/addresses.ts';
import { besideName, shortEnough } from '../../../lib/backup/postgres-swap.ts';
import { parseStore } from '../../../lib/backup/store.ts';
import { Secret } from '../../../lib/secret.ts';

test('the name beside a database is free and no longer than PostgreSQL takes, in bytes', () => {
  const id = '20261121-030000';
  assert.equal(besideName('app', 'before', id, []), `app_before_${id}`);
  const taken = [`app_before_${id}`, `app_before_${id}_2`];
  assert.equal(besideName('app', 'before', id, taken), `app_before_${id}_3`);
  assert.equal(besideName('x'.repeat(40), 'before', id, []).length, 63);
  assert.throws(() => besideName('x'.repeat(41), 'before', id, []), /longer than the 63 bytes/);
  assert.throws(() => besideName('ö'.repeat(21), 'before', id, []), /longer than the 63 bytes/);
  assert.throws(() => besideName('x'.repeat(40), 'before', id, [`${'x'.repeat(40)}_before_${id}`]), /longer/);
  assert.throws(() => shortEnough('x'.repeat(64)), /longer than the 63 bytes/);
});

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
