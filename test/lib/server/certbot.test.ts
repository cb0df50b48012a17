import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  certonly,
  LETS_ENCRYPT,
  type Lineage,
  parseRenewal,
  parseSchedule,
  planIssue,
  reasonOf,
  reconfigure,
  renew,
} from '../../../lib/server/certbot.ts';
import { acmeSettings, certificateSettings } from '../../../lib/server/certificate-settings.ts';
import { resolveSettings } from '../../../lib/settings.ts';

test("certbot's commands: the way of renewal is said when it is saved, and never at a renewal", async () => {
  const all = await resolveSettings(
    { ...certificateSettings, ...acmeSettings },
    { ACME_EMAIL: 'ops@a.test', DOMAIN: 'a.test,www.a.test', ACME_SERVER: 'https://staging.test/dir' },
  );
  assert.equal(
    certonly(all, false).text,
    'certbot certonly --webroot --webroot-path /var/www/certbot --cert-name a.test --domain a.test --domain www.a.test ' +
      '--agree-tos --no-eff-email --email ops@a.test --renew-with-new-domains --server https://staging.test/dir ' +
      '--keep-until-expiring --non-interactive',
  );
  assert.ok(certonly(all, true).text.includes('--force-renewal'));
  assert.equal(
    reconfigure(all).text,
    'certbot reconfigure --cert-name a.test --webroot --webroot-path /var/www/certbot --non-interactive',
  );
  assert.equal(renew.text, 'certbot renew --no-random-sleep-on-renew --non-interactive');
});

test("certbot's reason is found in what it prints", () => {
  const authority = (name: string) =>
    `  Domain: ${name}\n  Type:   unauthorized\n  Detail: 192.0.2.1: Invalid response\n`;
  for (const [output, reason] of [
    [
      `Certbot failed to authenticate some domains (authenticator: webroot).\n${authority('a.test')}\n${authority('b.test')}\nHint: x`,
      'a.test: 192.0.2.1: Invalid response (unauthorized); b.test: 192.0.2.1: Invalid response (unauthorized)',
    ],
    [
      'Saving debug log to x\nFailed to renew certificate a.test with error: Could not bind TCP port 80.\nAll renewals failed.',
      'a.test: Could not bind TCP port 80.',
    ],
    [
      'An unexpected error occurred:\ntoo many certificates already issued\nAsk for help',
      'too many certificates already issued',
    ],
    [
      'Saving debug log to x\nThe requested webroot plugin does not exist\nAsk for help at y\n',
      'The requested webroot plugin does not exist',
    ],
    ['', 'it gives no reason'],
  ] as const)
    assert.equal(reasonOf(output), reason);
});

test('who renews is read from crontabs and timers; comments and what systemd puts to rest do not count', () => {
  const debian =
    '/etc/cron.d/certbot:0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && certbot -q renew';
  const ours = '/etc/cron.d/bloaty:17 1 * * * root tsx /opt/opsbook/scripts/server/renew-certificates.ts';
  const comment = '/etc/cron.d/old:# 0 0 * * * root certbot renew';
  assert.deepEqual(parseSchedule(`${ours}\n${debian}\n${comment}\n`), {
    ours: ['/etc/cron.d/bloaty'],
    others: ['/etc/cron.d/certbot'],
  });
  const timers =
    'certbot.timer loaded active waiting Run certbot twice daily\nlogrotate.timer loaded active waiting x';
  const unit =
    '/etc/systemd/system/renew.service:ExecStart=tsx /opt/opsbook/scripts/server/renew-certificates.ts';
  assert.deepEqual(parseSchedule(`systemd\n${timers}\n${unit}\n${debian}\n`), {
    ours: ['/etc/systemd/system/renew.service'],
    others: ['certbot.timer'],
  });
});

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
  assert.deepEqual(plan(lineage(webroot)), { kind: 'keep', because: '59 days left' });
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
