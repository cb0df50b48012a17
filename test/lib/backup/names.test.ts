import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCompose, parseDirect } from '../../../lib/backup/postgres/address.ts';
import { grantStatements, missingRoles, setStatements } from '../../../lib/backup/postgres/roles.ts';
import { ident, literal } from '../../../lib/backup/postgres/server.ts';
import { besideName, shortEnough } from '../../../lib/backup/postgres/swap.ts';
import { parseSqlite } from '../../../lib/backup/sqlite/address.ts';
import { parseStore } from '../../../lib/backup/store.ts';
import { Secret } from '../../../lib/secret.ts';

const GLOBALS = `--
-- Roles
--
CREATE ROLE bloaty;
ALTER ROLE bloaty WITH NOSUPERUSER LOGIN CONNECTION LIMIT 7;
CREATE ROLE "o'dd ""one""; DROP";
ALTER ROLE "o'dd ""one""; DROP" WITH NOLOGIN;
CREATE ROLE blo;
ALTER ROLE blo WITH NOLOGIN;
GRANT blo TO bloaty WITH INHERIT TRUE GRANTED BY postgres;
GRANT pg_read_all_data TO "o'dd ""one""; DROP";
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
`;

test('only roles that are missing and needed are made, with what they may', () => {
  const sql = `ALTER TABLE t OWNER TO bloaty;\nGRANT SELECT ON t TO "o'dd ""one""; DROP";`;
  const { roles, statements } = missingRoles(GLOBALS, ['postgres', 'blo'], sql);
  assert.deepEqual(roles, ['bloaty', `o'dd "one"; DROP`]);
  assert.deepEqual(statements, [
    'CREATE ROLE bloaty;',
    'ALTER ROLE bloaty WITH NOSUPERUSER LOGIN CONNECTION LIMIT 7;',
    `CREATE ROLE "o'dd ""one""; DROP";`,
    `ALTER ROLE "o'dd ""one""; DROP" WITH NOLOGIN;`,
    'GRANT blo TO bloaty WITH INHERIT TRUE GRANTED BY postgres;',
    `GRANT pg_read_all_data TO "o'dd ""one""; DROP";`,
  ]);
  assert.deepEqual(
    missingRoles(GLOBALS, ['postgres', 'blo', 'bloaty', `o'dd "one"; DROP`], sql).statements,
    [],
  );
  assert.deepEqual(missingRoles(GLOBALS, ['postgres'], 'OWNER TO "nobody"').roles, []);
  // The group that a needed role is a member of is needed as well.
  assert.deepEqual(missingRoles(GLOBALS, ['postgres'], 'OWNER TO "bloaty"').roles, ['bloaty', 'blo']);
});

test('a setting is one string, a list of names is a list', () => {
  const of = 'ALTER DATABASE "d"';
  assert.deepEqual(
    setStatements(of, [
      'work_mem=7MB',
      `app.motto=it's a = b`,
      'search_path="$user", public, "Odd Name"',
      'search_path=""',
      'search_path=public, ""',
      'temp_tablespaces="fast disk", slow',
      'session_preload_libraries=auto_explain, "x"',
    ]),
    [
      `${of} SET work_mem TO '7MB'`,
      `${of} SET app.motto TO 'it''s a = b'`,
      `${of} SET search_path TO "$user", public, "Odd Name"`,
      `${of} SET search_path TO ''`,
      `${of} SET search_path TO public, ''`,
      `${of} SET temp_tablespaces TO "fast disk", slow`,
      `${of} SET session_preload_libraries TO auto_explain, "x"`,
    ],
  );
});

test('what was granted on a database is all that is granted', () => {
  const access = [
    { to: null, privilege: 'TEMPORARY', grantable: false },
    { to: 'o"d', privilege: 'CONNECT', grantable: true },
  ];
  assert.deepEqual(grantStatements('"d"', access, 'owner'), [
    'REVOKE ALL ON DATABASE "d" FROM PUBLIC',
    'REVOKE ALL ON DATABASE "d" FROM "owner"',
    'GRANT TEMPORARY ON DATABASE "d" TO PUBLIC',
    'GRANT CONNECT ON DATABASE "d" TO "o""d" WITH GRANT OPTION',
  ]);
});

test('names and strings are quoted whatever is in them', () => {
  assert.equal(ident(`a"b'c; --`), `"a""b'c; --"`);
  assert.equal(literal(`a"b'c; --`), `'a"b''c; --'`);
});

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
    ['postgres:///db', /is not postgres|is no URL/],
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
