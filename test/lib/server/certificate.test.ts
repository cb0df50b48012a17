import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeLifetime,
  describeRemaining,
  isLate,
  parseChain,
  sameNames,
} from '../../../lib/server/certificate.ts';

const day = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 86_400_000);
const lasting = (days: number) => ({
  ...{ names: ['a.test'], issuer: 'R3', fingerprint: 'AB', length: 2 },
  ...{ from: day(0), until: day(days) },
});

test('late is what has less than a quarter of its own lifetime left', () => {
  for (const [days, at, late] of [
    [90, 67, false],
    [90, 68, true],
    [45, 33, false],
    [45, 34, true],
    [6, 4, false],
    [6, 5, true],
    [90, 91, true],
  ] as const)
    assert.equal(isLate(lasting(days), day(at)), late, `${days} days, day ${at}`);
});

test('what is left is told in days, and in hours when there are few', () => {
  assert.equal(describeRemaining(lasting(90), day(10)), '80 days left');
  assert.equal(describeRemaining(lasting(90), day(89)), '24 hours left');
  assert.equal(describeRemaining(lasting(90), day(93)), 'expired 3 days ago');
  assert.equal(describeLifetime(lasting(90), day(80)), '10 days left of 90 days');
});

test('names are the same in any order', () => {
  assert.equal(sameNames(['a.test', 'b.test'], ['b.test', 'a.test']), true);
  assert.equal(sameNames(['a.test'], ['a.test', 'b.test']), false);
});

/** Self-signed, for nine days, its second name first. */
const PEM = `-----BEGIN CERTIFICATE-----
MIIBlzCCATygAwIBAgIUICGIEgRIEt/1RPAvEujyIunDY4gwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGYS50ZXN0MB4XDTI2MTEyMTA3MjIxMloXDTI2MTEzMDA3MjIx
MlowETEPMA0GA1UEAwwGYS50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
MBqHGR2O3G+QKw2in8xo+VAAc1ofUSi9yjFvu4S1s6o616P8CJcfI1qZoH2aCm31
0pD6RVbO43El7J4yEu7gI6NyMHAwHQYDVR0OBBYEFC9Ek2JSzEHCDZWjzk1kn4xY
EOSWMB8GA1UdIwQYMBaAFC9Ek2JSzEHCDZWjzk1kn4xYEOSWMA8GA1UdEwEB/wQF
MAMBAf8wHQYDVR0RBBYwFIIKd3d3LmEudGVzdIIGYS50ZXN0MAoGCCqGSM49BAMC
A0kAMEYCIQDImCe1FyDA/d0sP7a8WKKTeUs0KE7v4yT/X2Q97RsE6wIhAIHkoNSB
4m5RoUthWk325hq5CoWL42ZXqiehE0/B0mgu
-----END CERTIFICATE-----
`;

test('a file of certificates is its first one, and how many there are', () => {
  const { names: found, issuer, length, until, from } = parseChain(`${PEM}${PEM}`);
  assert.deepEqual(
    { found, issuer, length },
    { found: ['a.test', 'www.a.test'], issuer: 'a.test', length: 2 },
  );
  assert.equal(until.getTime() - from.getTime(), 9 * 86_400_000);
  assert.throws(() => parseChain('nothing'), /holds no certificate/);
});
