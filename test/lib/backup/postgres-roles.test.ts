import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  dumpedGlobals,
  grantStatements,
  mentions,
  newRoles,
  parseGlobals,
  setStatements,
} from '../../../lib/backup/postgres-roles.ts';
import { Failure } from '../../../lib/failure.ts';
import { ident, type Sql, sql } from '../../../lib/sql.ts';

const GLOBALS = `--
-- PostgreSQL database cluster dump
--
\\restrict abc
SET default_transaction_read_only = off;
--
-- Roles; "one" of them isn't
--
CREATE ROLE bloaty;
ALTER ROLE bloaty WITH NOSUPERUSER LOGIN CONNECTION LIMIT 7;
CREATE ROLE "o'dd ""one""; DROP";
ALTER ROLE "o'dd ""one""; DROP" WITH NOLOGIN;
CREATE ROLE blo;
ALTER ROLE blo WITH NOLOGIN VALID UNTIL '2027-01-01 00:00:00+00';
ALTER ROLE bloaty SET "app.motto" TO E'a\\\\b''c
ALTER ROLE bloaty WITH SUPERUSER;
\\\\! touch /tmp/pwned
';
ALTER ROLE bloaty SET search_path TO '$user', 'pub''lic';
ALTER ROLE bloaty IN DATABASE bloaty SET work_mem TO '1MB';
COMMENT ON ROLE bloaty IS 'of
CREATE ROLE two;
lines';
CREATE TABLESPACE fast OWNER postgres LOCATION '/disk';
GRANT ALL ON TABLESPACE fast TO bloaty;
GRANT blo TO bloaty WITH INHERIT TRUE GRANTED BY postgres;
GRANT pg_read_all_data TO "o'dd ""one""; DROP";
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
GRANT postgres TO blo WITH ADMIN OPTION, INHERIT FALSE, SET FALSE GRANTED BY postgres;
\\unrestrict abc
`;
const globals = { ...dumpedGlobals(GLOBALS), settings: [], roleSettings: [] };

const texts = (statements: readonly Sql[]) => statements.map(({ text }) => text);
const present = (...names: string[]) =>
  new Map([...names, 'pg_read_all_data'].map((name) => [name, name === 'postgres']));
const made = (names: string[], schema: string) => {
  const { roles, ...statements } = newRoles(globals, present(...names), (name) => mentions(schema, name));
  return { roles: roles.map(({ name }) => name), ...statements };
};

test('only roles that are missing and needed are made, with what they may', () => {
  const schema = `ALTER TABLE t OWNER TO bloaty;\nGRANT SELECT ON t TO "o'dd ""one""; DROP";`;
  const { roles, statements, withheld } = made(['postgres', 'blo'], schema);
  assert.deepEqual(roles, ['bloaty', `o'dd "one"; DROP`]);
  assert.deepEqual(texts(statements), [
    'CREATE ROLE "bloaty" INHERIT NOCREATEDB LOGIN CONNECTION LIMIT 7',
    `CREATE ROLE "o'dd ""one""; DROP" INHERIT NOCREATEDB NOLOGIN CONNECTION LIMIT -1`,
    'GRANT "blo" TO "bloaty" WITH ADMIN FALSE, INHERIT TRUE, SET TRUE',
    `GRANT "pg_read_all_data" TO "o'dd ""one""; DROP"`,
  ]);
  assert.deepEqual(withheld, []);
  assert.deepEqual(made(['postgres', 'blo', 'bloaty', `o'dd "one"; DROP`], schema).roles, []);
  assert.deepEqual(made(['postgres'], 'OWNER TO "nobody"').roles, []);
  // The group that a needed role is a member of is needed as well; a longer name is another's.
  assert.deepEqual(made(['postgres'], 'OWNER TO "bloaty"').roles, ['bloaty', 'blo']);
  assert.deepEqual(made(['postgres'], 'OWNER TO bloaty2').roles, []);
});

test('A2: no role gets power over the server: what would give it is left to somebody who means it', () => {
  assert.deepEqual(texts(made(['postgres'], 'OWNER TO blo').withheld), [
    'GRANT "postgres" TO "blo" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
  ]);
  const { roles, statements, withheld } = made([], 'OWNER TO postgres');
  assert.deepEqual(roles, ['postgres']);
  assert.deepEqual(texts(statements), [
    'CREATE ROLE "postgres" INHERIT NOCREATEDB NOLOGIN CONNECTION LIMIT -1',
  ]);
  assert.deepEqual(texts(withheld), ['ALTER ROLE "postgres" SUPERUSER']);
});

test('A2: what pg_dumpall wrote is read as data, whatever lines its values have', () => {
  const [bloaty, , blo] = globals.roles;
  assert.deepEqual(
    globals.roles.map(({ name }) => name),
    ['bloaty', `o'dd "one"; DROP`, 'blo', 'postgres'],
  );
  assert.equal(bloaty?.superuser, false);
  assert.equal(blo?.validUntil, '2027-01-01 00:00:00+00');
  assert.deepEqual(bloaty?.settings, [
    { name: 'app.motto', value: "a\\b'c\nALTER ROLE bloaty WITH SUPERUSER;\n\\! touch /tmp/pwned\n" },
    { name: 'search_path', value: `"$user", "pub'lic"` },
  ]);
  for (const forged of [
    'CREATE ROLE x; \\! touch /tmp/pwned\n',
    'CREATE ROLE x SUPERUSER;',
    "CREATE ROLE x;\nALTER ROLE x WITH LOGIN PASSWORD 'x';",
    'CREATE ROLE x;\nALTER ROLE x RENAME TO y;',
    'ALTER ROLE postgres WITH SUPERUSER;',
    'CREATE ROLE x',
    `CREATE ROLE ${"E''".repeat(10_000)}`,
  ])
    assert.throws(
      () => dumpedGlobals(forged),
      /the backup's roles are not as pg_dumpall writes them: "/,
      forged.slice(0, 80),
    );
});

test('A2: what is not the name of a parameter is refused, and named', () => {
  const named = (name: string) =>
    parseGlobals({ ...globals, settings: [{ name, value: 's3cret' }] }, (problem) => new Failure(problem));
  for (const name of ['work_mem', 'app.motto', 'my.9lives-ü', 'TimeZone', 'a.b.c']) assert.ok(named(name));
  for (const name of ['', 'a..b', '.a', 'work_mem TO 1; DROP', 'x\n\\! id', 'a"b', "a'b", 'a=b', 'a\0'])
    assert.throws(
      () => named(name),
      ({ message }: Failure) =>
        message === `settings/0/name: ${JSON.stringify(name)} is not the name of a parameter`,
      name,
    );
});

test('A1: a setting is one string, a list of names is what the server reads in its text', () => {
  const of = sql`ALTER DATABASE ${ident('d')}`;
  const set = (name: string, value: string) => texts(setStatements(of, { name, value }));
  assert.deepEqual(set('work_mem', '7MB'), [`ALTER DATABASE "d" SET "work_mem" TO E'7MB'`]);
  assert.deepEqual(set('app.motto', `it's a = b`), [
    `ALTER DATABASE "d" SET "app"."motto" TO E'it''s a = b'`,
  ]);
  assert.deepEqual(set('role', 'x; DROP'), [`ALTER DATABASE "d" SET "role" TO E'x; DROP'`]);
  for (const name of ['search_path', 'temp_tablespaces', 'session_preload_libraries'])
    assert.deepEqual(set(name, 'a;DROP/**/DATABASE/**/shop, "b"'), [
      `SELECT FROM set_config(E'${name}', E'a;DROP/**/DATABASE/**/shop, "b"', false)`,
      `ALTER DATABASE "d" SET "${name}" FROM CURRENT`,
    ]);
});

test('what was granted on a database is all that is granted', () => {
  const access = [
    { to: null, privilege: 'TEMPORARY' as const, grantable: false },
    { to: 'o"d', privilege: 'CONNECT' as const, grantable: true },
  ];
  assert.deepEqual(texts(grantStatements(ident('d'), access, 'owner')), [
    'REVOKE ALL ON DATABASE "d" FROM PUBLIC',
    'REVOKE ALL ON DATABASE "d" FROM "owner"',
    'GRANT TEMPORARY ON DATABASE "d" TO PUBLIC',
    'GRANT CONNECT ON DATABASE "d" TO "o""d" WITH GRANT OPTION',
  ]);
});
