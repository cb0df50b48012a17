import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LETS_ENCRYPT, type Lineage, parseRenewal, planIssue } from '../../../../lib/server/certbot.ts';

const conf = (params: string) => `# renew_before_expiry = 30 days
version = 4.0.0
fullchain = /etc/letsencrypt/live/a.test/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = e71ca2a1
server = ${LETS_ENCRYPT}
${params}key_type = ecdsa
`;
const standalone = conf('authenticator = standalone\n');
const webroot = conf('authenticator = webroot\nwebroot_path = /var/www/certbot,\n');
const mapped = `${webroot}[[webroot_map]]\na.test = /var/www/certbot\nwww.a.test = /srv/other\n`;

test('how a certificate is renewed is read from what certbot saved', () => {
  assert.deepEqual(parseRenewal(standalone), {
    authenticator: 'standalone',
    webroots: [],
    server: LETS_ENCRYPT,
  });
  assert.deepEqual(parseRenewal(webroot).webroots, ['/var/www/certbot']);
  assert.deepEqual(parseRenewal(mapped).webroots, ['/var/www/certbot', '/srv/other']);
  assert.equal(parseRenewal('').authenticator, '');
});

const now = new Date('2026-02-01');
const lineage = (text: string, { names = ['a.test'], until = '2026-04-01' } = {}): Lineage => ({
  name: 'a.test',
  renewal: parseRenewal(text),
  certificate: {
    ...{ names, issuer: 'R3', fingerprint: 'AB', length: 2 },
    ...{ from: new Date('2026-01-01'), until: new Date(until) },
  },
});
const wanted = { DOMAIN: ['a.test'], ACME_WEBROOT: '/var/www/certbot', ACME_SERVER: undefined };

test('what is to be done for a certificate follows from what there is', () => {
  const plan = (has: Lineage | undefined, more: Partial<typeof wanted> | { ACME_SERVER: string } = {}) =>
    planIssue(has, { ...wanted, ...more }, now);
  assert.deepEqual(plan(lineage(webroot)), { kind: 'keep' });
  assert.deepEqual(plan(undefined), { kind: 'issue', because: 'there is none', force: false });
  const names = plan(lineage(webroot), { DOMAIN: ['a.test', 'www.a.test'] });
  assert.deepEqual(names, { kind: 'issue', because: 'it is for a.test', force: false });
  const expired = plan(lineage(standalone, { until: '2026-01-30' }));
  assert.deepEqual(expired, { kind: 'issue', because: 'expired 2 days ago', force: false });
  const server = plan(lineage(webroot), { ACME_SERVER: 'https://staging.test/dir' });
  assert.deepEqual(server, { kind: 'issue', because: `it is from ${LETS_ENCRYPT}`, force: true });
  for (const [text, because] of [
    [standalone, 'it is renewed by standalone'],
    [mapped, 'it is renewed in /srv/other, not in /var/www/certbot'],
    [conf('authenticator = webroot\n'), 'it is renewed in no directory, not in /var/www/certbot'],
  ] as const)
    assert.deepEqual(plan(lineage(text)), { kind: 'reconfigure', because });
});

test('a certificate that certbot knows nothing of is refused, with how to move it away', () => {
  const foreign = { ...lineage(webroot), renewal: undefined };
  assert.throws(() => planIssue(foreign, wanted, now), {
    message: /live\/a\.test\/fullchain\.pem is not certbot's/,
    next: /mv \/etc\/letsencrypt\/live\/a\.test \/etc\/letsencrypt\/a\.test\.before/,
  });
});
