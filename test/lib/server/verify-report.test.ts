import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeVerification, problem, unknown } from '../../../lib/server/verify-report.ts';

test('the table has 80 columns, and says what to do under each problem', () => {
  const long = `a ${'long '.repeat(40)}${'x'.repeat(100)}`;
  const text = describeVerification({
    ...{ app: 'bloaty', at: '2026-11-04T00:00:00.000Z', hosts: ['h'] },
    rows: [
      { check: 'disk', ...problem(long, long, long), host: 'h', lines: [long] },
      { check: 'ports', ...unknown(long, long) },
    ],
  });
  for (const line of text.split('\n')) assert.ok(line.length <= 80, `${line.length}: ${line}`);
  assert.equal(text.match(/→ a long/g)?.length, 2);
});
