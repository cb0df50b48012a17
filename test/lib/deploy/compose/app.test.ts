import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { composeApp } from '../../../../lib/deploy/compose/app.ts';
import { localHost } from '../../../../lib/hosts/local.ts';

for (const [what, files, own] of [
  [
    'an exported COMPOSE_FILE of the .env',
    { '.env': 'export COMPOSE_FILE="a.yml:prod.yml"\n' },
    ['a.yml', 'prod.yml'],
  ],
  [
    'that of SECRETS_FILE',
    { '.env': 'COMPOSE_FILE=a.yml\n', '.env.x': 'COMPOSE_FILE=b.yml # x\n' },
    ['b.yml'],
  ],
  ['.yml before .yaml', { 'docker-compose.yaml': '', 'docker-compose.yml': '' }, ['docker-compose.yml']],
  ['compose.yaml before compose.yml', { 'compose.yaml': '', 'compose.yml': '' }, ['compose.yaml']],
  [
    'any override',
    { 'compose.yml': '', 'docker-compose.override.yml': '' },
    ['compose.yml', 'docker-compose.override.yml'],
  ],
] as const)
  test(`F10: the compose files are those that Compose itself reads: ${what}`, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'opsbook-app-'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    const settings = { APP_DIR: dir, SECRETS_FILE: '.env.x' in files ? '.env.x' : '.env' };
    const app = await composeApp(localHost(), settings as unknown as Parameters<typeof composeApp>[1]);
    assert.deepEqual(app.own, own);
    rmSync(dir, { recursive: true });
  });
