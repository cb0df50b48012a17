import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asInput, dbname, ident, listed, sql } from '../../lib/sql.ts';

test('A1: names and strings are quoted whatever is in them, and strings have no line of their own', () => {
  assert.equal(ident(`a"b'c; --`).text, `"a""b'c; --"`);
  assert.equal(ident('a.b', 'c').text, '"a.b"."c"');
  assert.equal(sql`SELECT ${`a"b'c; --`}`.text, `SELECT E'a"b''c; --'`);
  assert.equal(
    sql`SELECT ${"\\'; x\r\n\\! touch x\n:x"}`.text,
    `SELECT E'\\\\''; x\\r\\n\\\\! touch x\\n:x'`,
  );
  assert.equal(sql`SELECT ${7} FROM ${listed([ident('a'), sql`${'b'}`])}`.text, `SELECT 7 FROM "a", E'b'`);
  assert.equal(asInput([sql`BEGIN`, sql`COMMIT`]), 'BEGIN;\nCOMMIT;\n');
});

test('A1: only what this module made is SQL', () => {
  for (const value of [{ text: '; DROP' }, 1.5, Number.NaN, null, ['x'], undefined])
    assert.throws(() => sql`SELECT ${value as unknown as string}`, TypeError, JSON.stringify(value));
});

test('A2: what PostgreSQL cannot hold is refused, and a value that may be secret is not shown', () => {
  assert.throws(() => sql`SELECT ${'s3cret\0'}`, /^Failure: a value for PostgreSQL has a NUL byte/);
  assert.throws(() => ident('a\0b'), /the name "a\\u0000b" for PostgreSQL/);
  assert.throws(() => ident('\ud800'), /half a character/);
});

test('A2: a name is never a connection string', () => {
  assert.deepEqual(dbname('bloaty'), ['--dbname', 'bloaty']);
  assert.deepEqual(dbname('a=b host=evil'), ['--dbname', "dbname='a=b host=evil'"]);
  assert.deepEqual(dbname(`postgres://it's\\`), ['--dbname', "dbname='postgres://it\\'s\\\\'"]);
});
