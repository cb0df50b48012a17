import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../../lib/secret.ts';
import { makeFile } from '../../../../lib/server/env-template.ts';
import type { Secrets } from '../../../../lib/server/secret-stores.ts';

const secrets = {
  ...{ stores: [], home: new Map(), unfit: new Map() },
  values: new Map([['PASSWORD', new Secret('swordfish')]]),
} as unknown as Secrets;
const file = {
  ...{ path: '/opt/app/.env', text: '', open: false },
  entries: new Map([
    ['COMPOSE_FILE', 'docker-compose.yml:.opsbook/deployed.yml'],
    ['OLD', 'unknown'],
  ]),
};

test('what only the old file has is kept, and with --prune removed', () => {
  assert.deepEqual(makeFile(file, undefined, secrets).kept, ['COMPOSE_FILE', 'OLD']);
  assert.doesNotMatch(makeFile(file, undefined, secrets, true).text, /^OLD=/m);
});

test('the line by which Compose finds the version that was deployed outlives --prune', () => {
  const { kept, text } = makeFile(file, undefined, secrets, true);
  assert.deepEqual(kept, ['COMPOSE_FILE']);
  assert.match(text, /^COMPOSE_FILE=.*deployed\.yml/m);
});
