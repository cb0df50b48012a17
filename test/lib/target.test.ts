import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTarget } from '../../lib/app.ts';

const good = {
  local: { kind: 'local' },
  'ssh://chitram.example.org': { kind: 'ssh', host: 'chitram.example.org' },
  'ssh://deploy@10.0.0.7:2222': { kind: 'ssh', user: 'deploy', host: '10.0.0.7', port: 2222 },
  'ssm://i-0123456789abcdef0': { kind: 'ssm', instance: 'i-0123456789abcdef0' },
  'ssm://tag:Name=drawing agent': { kind: 'ssm', tag: 'Name', value: 'drawing agent' },
  'ecs://main/spotter-app': { kind: 'ecs', cluster: 'main', service: 'spotter-app' },
};

for (const [raw, target] of Object.entries(good))
  test(`the target ${raw}`, () => assert.deepEqual(parseTarget(raw), target));

for (const raw of [
  '',
  'host',
  'ssh://',
  'ssh://-v',
  'ssh://-v@host',
  'ssh://-oProxyCommand=x',
  'ssh://a b',
  'ssm://',
  'ssm://web',
  'ecs://only',
])
  test(`"${raw}" is no target`, () => assert.throws(() => parseTarget(raw), /is not one of local, ssh:/));
