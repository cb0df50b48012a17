import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { knownSecrets, mask, Secret } from '../../lib/secret.ts';

test('a secret prints as [redacted], however it is printed', () => {
  const secret = new Secret('correct-horse');
  for (const printed of [
    String(secret),
    `${secret}`,
    format('%s %o', secret, secret),
    inspect({ nested: { secret } }, { showHidden: true }),
    JSON.stringify({ secret }),
    JSON.stringify(Object.entries(secret)),
  ])
    assert.doesNotMatch(printed, /correct-horse/);
  assert.equal(`${secret}`, '[redacted]');
  assert.equal(secret.reveal(), 'correct-horse');
});

const hostile = `p@ss/"w o\\rd'%#?&=+:;$\`!(é)*`;

test('a secret is masked in every form in which programs write it', () => {
  const secret = new Secret(hostile);
  const url = new URL('postgres://app@db/app');
  url.password = secret.reveal();
  for (const [form, text] of [
    ['plain', hostile],
    ['JSON', JSON.stringify({ value: hostile })],
    ['percent-encoded', encodeURIComponent(hostile)],
    ['RFC 3986', 'p%40ss%2F%22w%20o%5Crd%27%25%23%3F%26%3D%2B%3A%3B%24%60%21%28%C3%A9%29%2A'],
    ['of a form', 'p%40ss%2F%22w+o%5Crd%27%25%23%3F%26%3D%2B%3A%3B%24%60%21%28%C3%A9%29%2A'],
    ['in a URL', url.href],
  ] as const) {
    const masked = mask(`before ${text} after`);
    assert.match(masked, /^before .*\[redacted\].* after$/, form);
    assert.doesNotMatch(masked, /rd/, form);
  }
});

test('of two secrets the longer one is masked first, so that its rest does not show', () => {
  new Secret('open-sesame');
  new Secret('open-sesame-and-more');
  assert.equal(mask('open-sesame-and-more open-sesame'), '[redacted] [redacted]');
});

test('very short values are redacted where they are secrets, but not masked in text', () => {
  const secret = new Secret('abc');
  assert.equal(`${secret}`, '[redacted]');
  assert.equal(mask('abcdef'), 'abcdef');
});

test('all known forms are listed, longest first', () => {
  new Secret('a b c d');
  const lengths = knownSecrets().map((s) => s.length);
  assert.deepEqual(
    lengths,
    [...lengths].sort((a, b) => b - a),
  );
  for (const form of ['a b c d', 'a%20b%20c%20d', 'a+b+c+d']) assert.ok(knownSecrets().includes(form));
});
