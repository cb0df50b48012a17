import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ecrOf, imageText, parseImage } from '../../../lib/deploy/settings.ts';

const digest = `sha256:${'0a'.repeat(32)}`;
const ecr = '123456789012.dkr.ecr.us-east-1.amazonaws.com';

const readable = {
  redis: { repository: 'redis' },
  'caddy:2.6': { repository: 'caddy', tag: '2.6' },
  'sandbox/web:1.0.0': { repository: 'sandbox/web', tag: '1.0.0' },
  'localhost/web': { registry: 'localhost', repository: 'web' },
  '127.0.0.1:5000/web': { registry: '127.0.0.1:5000', repository: 'web' },
  '[::1]:5000/web:v1': { registry: '[::1]:5000', repository: 'web', tag: 'v1' },
  [`${ecr}/team/spotter-app:1.2.3-rc.1`]: {
    registry: ecr,
    repository: 'team/spotter-app',
    tag: '1.2.3-rc.1',
  },
  [`${ecr}/app:1.2.3@${digest}`]: { registry: ecr, repository: 'app', tag: '1.2.3', digest },
  [`app@${digest}`]: { repository: 'app', digest },
};

for (const [raw, parts] of Object.entries(readable)) {
  test(`${raw} is read, and written back as it was`, () => {
    assert.deepEqual(parseImage(raw), parts);
    assert.equal(imageText(parseImage(raw)), raw);
  });
}

const refused = {
  '': /not the name/,
  'Web:1': /not the name/,
  'sandbox/Web': /not the name/,
  '-x': /not the name/,
  'web app': /not the name/,
  'https://registry.example.org/app': /not the name/,
  'app:': /tag/,
  'app:1.2.3+4': /tag that no image can have: "1\.2\.3\+4"/,
  'app@sha256:abc': /digest/,
  [`app@${digest}@${digest}`]: /digest/,
};

for (const [raw, why] of Object.entries(refused)) {
  test(`"${raw}" is refused`, () => assert.throws(() => parseImage(raw), why));
}

test("ECR's registries tell their account and region, others nothing", () => {
  assert.deepEqual(ecrOf(parseImage(`${ecr}/app`)), { account: '123456789012', region: 'us-east-1' });
  const china = '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app';
  assert.equal(ecrOf(parseImage(china))?.region, 'cn-north-1');
  assert.equal(ecrOf(parseImage('ghcr.io/someone/app')), undefined);
  assert.equal(ecrOf(parseImage(`${ecr}.example.org/app`)), undefined);
});
