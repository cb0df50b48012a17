import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certonly, parseSchedule, reasonOf, reconfigure, renew } from '../../../../lib/server/certbot.ts';
import { acmeSettings, certificateSettings } from '../../../../lib/server/certificate-settings.ts';
import { proxyOf, within } from '../../../../lib/server/served.ts';
import { resolveSettings } from '../../../../lib/settings.ts';

const settings = (raw: Record<string, string>) =>
  resolveSettings({ ...certificateSettings, ...acmeSettings }, { ACME_EMAIL: 'ops@a.test', ...raw });

test('DOMAIN is a list of names of hosts; a wildcard and what is no name are refused, with the reason', async () => {
  assert.deepEqual((await settings({ DOMAIN: 'A.test, www.a.test' })).DOMAIN, ['a.test', 'www.a.test']);
  for (const [raw, problem] of [
    ['*.a.test', /a wildcard needs the DNS/],
    ['http://a.test', /"http:\/\/a\.test" is not the name of a host/],
    ['a', /is not the name/],
    ['--domain.test', /is not the name/],
    ['192.0.2.1', /is not the name/],
    [',', /names no domain/],
  ] as const)
    await assert.rejects(settings({ DOMAIN: raw }), { exit: 2, message: problem });
});

test("certbot's commands: the way of renewal is said when it is saved, and never at a renewal", async () => {
  const all = await settings({ DOMAIN: 'a.test,www.a.test', ACME_SERVER: 'https://staging.test/dir' });
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
    ['', 'it says no more'],
  ] as const)
    assert.equal(reasonOf(output), reason);
});

test('a proxy that Docker restarts again and again does not count as running', () => {
  const now = Date.parse('2026-02-01T00:00:30Z');
  const inspected = (state: object, more: object = {}) => ({
    ...{ Path: '/docker-entrypoint.sh', Args: ['nginx', '-g', 'daemon off;'], RestartCount: 0, Mounts: [] },
    State: { Running: true, Restarting: false, StartedAt: '2026-02-01T00:00:00Z', ...state },
    ...{ Config: { Env: null }, ...more },
  });
  assert.equal(proxyOf(inspected({}), now).steady, true);
  assert.equal(proxyOf(inspected({ Restarting: true }), now).steady, false);
  assert.equal(proxyOf(inspected({ Running: false }), now).wanted, false);
  const again = { StartedAt: '2026-02-01T00:00:29Z' };
  assert.equal(proxyOf(inspected(again, { RestartCount: 3 }), now).fresh, true);
  assert.equal(proxyOf(inspected(again), now).fresh, false);
  assert.equal(proxyOf(inspected({}, { RestartCount: 3 }), now).fresh, false);
  const caddy = proxyOf(
    inspected({}, { Path: '/usr/bin/caddy', Args: ['run'], Config: { Env: ['XDG_DATA_HOME=/data'] } }),
    now,
  );
  assert.deepEqual([caddy.kind, caddy.dataDirectory], ['caddy', '/data/caddy']);
});

test('a directory is within another by its path, not by its letters', () => {
  assert.equal(within('/data/caddy', '/data'), true);
  assert.equal(within('/data', '/data/'), true);
  assert.equal(within('/database', '/data'), false);
  assert.equal(within('/x', '/'), true);
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
