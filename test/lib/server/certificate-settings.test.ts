import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificateSettings } from '../../../lib/server/certificate-settings.ts';
import { resolveSettings } from '../../../lib/settings.ts';

const settings = (DOMAIN: string) => resolveSettings(certificateSettings, { DOMAIN });

test('DOMAIN is a list of names of hosts; a wildcard and what is no name are refused, with the reason', async () => {
  assert.deepEqual((await settings('A.test, www.a.test')).DOMAIN, ['a.test', 'www.a.test']);
  for (const [raw, problem] of [
    ['*.a.test', /a wildcard needs the DNS/],
    ['http://a.test', /"http:\/\/a\.test" is not the name of a host/],
    ['a', /is not the name/],
    ['--domain.test', /is not the name/],
    ['192.0.2.1', /is not the name/],
    [',', /names no domain/],
  ] as const)
    await assert.rejects(settings(raw), { exit: 2, message: problem });
});
