import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../lib/secret.ts';
import { rolesWith, scramVerifier } from '../../../lib/server/rotate-secret.ts';

const services = (environments: Record<string, Record<string, string>>) =>
  new Map(Object.entries(environments).map(([name, values]) => [name, new Map(Object.entries(values))]));
const servers = new Set(['db']);

test('a verifier is that of RFC 7677 for its password and salt', () => {
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
  assert.equal(
    scramVerifier(new Secret('pencil'), salt).reveal(),
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  );
});

test('the role of an image is its superuser, once, though every service is told the password', () => {
  const told = { POSTGRES_PASSWORD: 'a/b', DATABASE_URL: 'postgresql+asyncpg://admin:a%2Fb@db:5432/app' };
  const found = rolesWith(['a/b'], services({ db: { ...told, POSTGRES_USER: 'admin' }, web: told }), servers);
  assert.deepEqual(found, [{ service: 'db', name: 'admin', database: 'app', superuser: 'admin' }]);
});

test('a role that only URLs name is altered by the superuser of its server', () => {
  const web = { DATABASE_URL: 'postgres://app:secret-1@db/shop', OTHER: 'postgres://app:secret-2@db/shop' };
  const found = rolesWith(['secret-1'], services({ db: { POSTGRES_PASSWORD: 'secret-3' }, web }), servers);
  assert.deepEqual(found, [{ service: 'db', name: 'app', database: 'shop', superuser: 'postgres' }]);
});

test('what is no password of a database has no role', () => {
  const web = { SESSION_KEY: 'key-1', URL: 'https://user:key-1@db/x', BROKEN: 'postgres://%:key-1' };
  assert.deepEqual(rolesWith(['key-1'], services({ db: {}, web }), servers), []);
});

test('a server that is none of the services is refused by name', () => {
  const web = services({ web: { DATABASE_URL: 'postgres://app:secret-1@prod.rds.amazonaws.com/shop' } });
  assert.throws(() => rolesWith(['secret-1'], web, servers), {
    message: 'DATABASE_URL of web leads to prod.rds.amazonaws.com, which is not a service of the app',
    exit: 2,
  });
});

test('a password that a server was made with, while there is no server to alter it in, is refused', () => {
  const all = services({ db: { POSTGRES_PASSWORD: 'secret-1' } });
  assert.throws(() => rolesWith(['secret-1'], all, new Set()), {
    message: /^db has the password of a PostgreSQL server, but no server has a container$/,
  });
});
