import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onlyDescribe } from '../../../lib/script.ts';

onlyDescribe(() => {});
const { describeRows, refuseProblems } = await import('../../../scripts/server/check-certificate.ts');

test('the check fails with its first problem and what to do, and tells how many there are', async () => {
  const rows = [
    { name: 'a', ok: true, found: 'fine', todo: '' },
    { name: 'b', ok: false, found: 'broken', todo: 'mend it' },
    { name: 'c', ok: false, found: 'gone', todo: 'find it' },
  ];
  await assert.rejects(refuseProblems(rows), {
    exit: 3,
    message: 'b: broken (and 1 more problem)',
    next: 'mend it',
  });
  await refuseProblems(rows.slice(0, 1));
  assert.match(await describeRows(rows), /^✗ {2}b +broken +mend it$/m);
});
