import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../lib/server/secret-settings.ts';

test('stores are named as in AWS', () => {
  const arn = 'arn:aws:secretsmanager:eu-north-1:123456789012:secret:bloaty/production-AbCdEf';
  assert.equal(parseAddress('secretsmanager:bloaty/production').name, 'bloaty/production');
  assert.equal(parseAddress(`secretsmanager:${arn}`).name, arn);
  assert.equal(parseAddress('ssm:/spotter-app').name, '/spotter-app/');
  for (const wrong of ['bloaty', 'ssm:spotter', 'secretsmanager:', 's3://x', 'ssm:/a//b/'])
    assert.throws(() => parseAddress(wrong), /is neither secretsmanager:NAME nor ssm:\/PATH\//, wrong);
});
