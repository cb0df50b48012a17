import assert from 'node:assert/strict';
import { test } from 'node:test';
import { illnessIn } from '../../../lib/deploy/validate/urls.ts';

const well = [
  '{"status":"healthy","database":"connected"}',
  '{"status":"ok","uptime":12,"errors":[]}',
  '{"status":"UP","details":{"db":{"status":"UP"}}}',
  '"ok"',
  '<html>error</html>',
  'unhealthy is only a word here',
  '{"openapi":"3.1.0","components":{"schemas":{"Status":{"default":"error"}}}}',
];
const ill: Record<string, string> = {
  '{"status":"unhealthy","database":"error"}': 'status is "unhealthy"',
  '{"status":"healthy","database":"error"}': 'database is "error"',
  '{"status":"healthy","cache":"not connected"}': 'cache is "not connected"',
  '{"checks":{"redis":{"status":"DOWN"}}}': 'checks.redis.status is "DOWN"',
  '{"healthy":false}': 'healthy is false',
  '"unhealthy"': 'it is "unhealthy"',
};

for (const text of well) test(`${text} is well`, () => assert.equal(illnessIn(text), undefined));
for (const [text, what] of Object.entries(ill))
  test(`${text} is ill: ${what}`, () => assert.equal(illnessIn(text), what));
