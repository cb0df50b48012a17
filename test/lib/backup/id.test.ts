import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Entry, freshId } from '../../../lib/backup/catalog.ts';
import { chooseId, dateOf, idOf } from '../../../lib/backup/id.ts';

const ids = ['20261101-030000', '20261118-030000', '20261119-030000', '20261120-030000'];

test('an id is a moment in UTC, to the second', () => {
  assert.equal(idOf(new Date('2026-11-21T03:04:05.999+02:00')), '20261121-010405');
  assert.equal(dateOf('20261121-010405')?.toISOString(), '2026-11-21T01:04:05.000Z');
});

test('what only looks like a moment is no id', () => {
  for (const id of [
    '20260230-030000',
    '20261121-240000',
    '20261121-0304',
    '20261121030405',
    'latest',
    '',
    '../x',
  ])
    assert.equal(dateOf(id), undefined, id);
});

test('"latest" is the last, an id is itself', () => {
  assert.equal(chooseId('latest', ids, 's3://b/app'), '20261120-030000');
  assert.equal(chooseId('20261118-030000', ids, 's3://b/app'), '20261118-030000');
});

test('another is refused with exit 2, and those nearest in time are suggested', () => {
  const table = [
    ['20261118-030001', '20261118-030000, 20261119-030000, 20261120-030000'],
    ['20261119', '20261119-030000, 20261118-030000, 20261120-030000'],
    ['bloaty-2026-11-02.sql.gz', '20261101-030000, 20261118-030000, 20261119-030000'],
    ['2026-11-19T03:00:00Z', '20261119-030000, 20261118-030000, 20261120-030000'],
    ['yesterday', '20261120-030000, 20261119-030000, 20261118-030000'],
    ['20269999-030000', '20261120-030000, 20261119-030000, 20261118-030000'],
  ] as const;
  for (const [wanted, near] of table) {
    assert.throws(
      () => chooseId(wanted, ids, 's3://b/app'),
      (error: { message: string; exit: number }) => {
        assert.equal(error.message, `no backup ${wanted} in s3://b/app; near it: ${near}`);
        return error.exit === 2;
      },
    );
  }
  assert.throws(() => chooseId('latest', [], 's3://b/app'), /no backup in s3:\/\/b\/app/);
});

test('two backups in one second get two ids', () => {
  const taken = ['20261121-030000', '20261121-030001'].map((id) => ({ id }) as Entry);
  assert.equal(freshId(taken, new Date('2026-11-21T03:00:00.500Z')), '20261121-030002');
});
