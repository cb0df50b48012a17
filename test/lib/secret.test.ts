import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { maskSecretsOf, readEnvironment } from '../../lib/env-file.ts';
import { knownSecrets, makePublic, mask, membersOf, parseSecret, redact, Secret } from '../../lib/secret.ts';
import { tempDir } from './kit.ts';

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

test('V1: what cannot be parsed of a secret is not quoted', () => {
  for (const text of ['hunter-hush', '"hunter-hush', '{"A": hunter-hush}', '', '{"A":"hunter\nhush"}'])
    for (const parse of [() => parseSecret(new Secret(text)), () => membersOf(new Secret(text))])
      assert.throws(parse, (error: Error) => {
        assert.deepEqual([error.message, error.cause], ['is not JSON', undefined], text);
        return true;
      });
  for (const text of ['"hunter-hush"', '["hunter-hush"]', 'null', '1e400'])
    assert.equal(membersOf(new Secret(text)), undefined, text);
});

test('H9: the members of a secret are as they are written, names of objects among them', () => {
  const text = '{ "a" : 1e400,"b":{"c":[1,{"d":",}"}]} ,"__proto__":"\\u00e9", "q\\"," : "]" }';
  assert.deepEqual(
    [...(membersOf(new Secret(text)) ?? [])],
    [
      ['a', '1e400'],
      ['b', '{"c":[1,{"d":",}"}]}'],
      ['__proto__', '"\\u00e9"'],
      ['q",', '"]"'],
    ],
  );
  assert.equal(membersOf(new Secret(text))?.has('constructor'), false);
  assert.deepEqual([...(membersOf(new Secret(' {} ')) ?? [1])], []);
});

test('V1: a line of a longer secret, and a secret in base64, are masked', () => {
  const key = '-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END KEY-----';
  new Secret(key);
  new Secret('APP=bloaty\nCOMPOSE_FILE=docker-compose.yml\n');
  assert.equal(mask('COMPOSE_FILE=docker-compose.yml up'), 'COMPOSE_FILE=docker-compose.yml up');
  new Secret('MAX_UPLOAD_SIZE_MB=\nSMTP_HOST_OF_APP=\nMIIEvQIBADANBgkqhkiG9w0BAg==\n');
  assert.equal(mask('set MAX_UPLOAD_SIZE_MB=5'), 'set MAX_UPLOAD_SIZE_MB=5');
  assert.equal(mask('of MIIEvQIBADANBgkqhkiG9w0BAg=='), 'of [redacted]');
  assert.equal(mask('near MIIEvQIBADANBgkqhkiG9w0BAQ here'), 'near [redacted] here');
  assert.match(mask(Buffer.from('correct-horse').toString('base64')), /^\[redacted\]=*$/);
});

test('V1: the password of an address is masked though nobody knows it, and other addresses are not touched', () => {
  for (const [text, shown] of [
    [
      'git@github.com:x/y https://x-access-token:ghs_abc@github.com/x',
      'https://x-access-token:[redacted]@github.com/x',
    ],
    ['https://0123456789abcdef0123@github.com/x', 'https://[redacted]@github.com/x'],
    ['redis://:unknown@cache:6379/0', 'redis://:[redacted]@cache:6379/0'],
    ["amqp://a:it's,so@b", 'amqp://a:[redacted]@b'],
    ['https://bloaty-app.example.org,deploy@laptop', 'https://bloaty-app.example.org,deploy@laptop'],
    [
      '{"on":"ssm://i-0123456789abcdef0","ok":true,"out":"a@b"}',
      '{"on":"ssm://i-0123456789abcdef0","ok":true,"out":"a@b"}',
    ],
    ['{\\"at\\":\\"http://h:80\\",\\"who\\":\\"a@b\\"}', '{\\"at\\":\\"http://h:80\\",\\"who\\":\\"a@b\\"}'],
    ['ssh://deploy@host:22,ssh://c@d', 'ssh://deploy@host:22,ssh://c@d'],
    ['http://host:80/@scope/a', 'http://host:80/@scope/a'],
    [
      'is not postgres://USER:PASSWORD@HOST:PORT/DATABASE',
      'is not postgres://USER:PASSWORD@HOST:PORT/DATABASE',
    ],
  ] as const)
    assert.ok(mask(text).endsWith(shown), mask(text));
});

test('A7, R17: what the environment holds as secrets is masked; what everybody knows is not', () => {
  maskSecretsOf({
    ...{ APP: 'bloaty-shop', APP_DIR: '/srv/bloaty-shop', POSTGRES_USER: 'shopkeeper' },
    ...{ POSTGRES_PASSWORD: 'shopkeeper', SMTP_PASSWORD: 'bloaty-shop', KEY_FILE: '/etc/keys/one' },
    ...{
      DATABASE_URL: 'postgres://app:in-address@db/x',
      SESSION_SECRET_KEY: 'of-sessions',
      SSH_KEY: import.meta.filename,
    },
  });
  assert.equal(
    mask(`/srv/bloaty-shop shopkeeper ${import.meta.filename}: login in-address of-sessions`),
    `/srv/bloaty-shop shopkeeper ${import.meta.filename}: login [redacted] [redacted]`,
  );
  new Secret('bloaty-store');
  makePublic('secretsmanager:bloaty-store/production');
  new Secret('production');
  assert.equal(mask('secretsmanager:bloaty-store/production'), 'secretsmanager:bloaty-store/production');
  assert.equal(redact('DATABASE_URL=postgres://a:b@c'), 'DATABASE_URL=postgres://a:[redacted]@c');
});

test('a secret is masked as dotenv and as Compose read it', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, 'THEIR_PASSWORD="read\\$-in-two-ways"\nTHEIR_URL=postgres://a:cut-behind#not-cut@db\n');
  const { raw, composed } = await readEnvironment([file], {});
  maskSecretsOf(raw, composed);
  assert.equal(
    mask('a read\\$-in-two-ways, b read$-in-two-ways, c cut-behind#not-cut'),
    'a [redacted], b [redacted], c [redacted]',
  );
});

test('V1: a secret that begins as a path does is masked; the path of a file is told', (t) => {
  const home = tempDir(t);
  const [before, odd] = [process.env.HOME, join(home, 'a+b=')];
  t.after(() => {
    process.env.HOME = before;
  });
  process.env.HOME = home;
  writeFileSync(join(home, 'id_of_app'), '');
  writeFileSync(odd, '');
  const [hidden, shown] = [
    ['/x8Kq2L0ab93kfTq==', '/x8Kq2L0ab93kfTqQ', './9fKq2L0ab93', '~/9fKq2L0ab93', '../Kq2L0ab93', odd],
    ['~/id_of_app', join(home, 'id_of_app')],
  ];
  maskSecretsOf(Object.fromEntries([...hidden, ...shown].map((value, i) => [`N${i}_SECRET_KEY`, value])));
  for (const value of hidden) assert.equal(mask(`is ${value}.`), 'is [redacted].', value);
  for (const value of shown) assert.equal(mask(`is ${value}.`), `is ${value}.`);
});

test('what looks like a secret in a log is not shown', () => {
  const key = ['AKIA', 'ABCDEFGHIJKLMNOP'].join('');
  for (const [line, shown] of [
    ['to postgres://app:s3cr/et@db:5432/x', 'to postgres://app:[redacted]@db:5432/x'],
    ['to postgres://app:s3cret@db:5432/x', 'to postgres://app:[redacted]@db:5432/x'],
    ['{"password": "a b", "n": 1}', '{"password": [redacted], "n": 1}'],
    ['API_KEY=abc123 next', 'API_KEY=[redacted] next'],
    ['Authorization: Bearer abcdefgh12345', 'Authorization: Bearer [redacted]'],
    [`key ${key}`, 'key [redacted]'],
    ['nothing to hide', 'nothing to hide'],
  ] as const)
    assert.equal(redact(line), shown);
});
