import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { composeApp } from '../../../lib/deploy/compose-app.ts';
import type { AppSettings } from '../../../lib/deploy/deployment.ts';
import type { Failure } from '../../../lib/failure.ts';
import { localHost } from '../../../lib/hosts.ts';
import { tempDir } from '../kit.ts';

const { signal } = new AbortController();

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
  [
    'a pin of the .env, which names the same files as SECRETS_FILE leaves to Compose',
    { '.env': 'COMPOSE_FILE=./compose.yml:.opsbook/deployed.yml\n', '.env.x': '', 'compose.yml': '' },
    ['compose.yml'],
  ],
] as const)
  test(`F10: the compose files are those that Compose itself reads: ${what}`, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'opsbook-app-'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    const settings = { APP_DIR: dir, SECRETS_FILE: '.env.x' in files ? '.env.x' : '.env' };
    const app = await composeApp(localHost(), settings as unknown as AppSettings, signal);
    assert.deepEqual(app.own, own);
    rmSync(dir, { recursive: true });
  });

for (const line of [
  'COMPOSE_FILE=compose.yml:prod.yml',
  'COMPOSE_FILE=compose.yml:prod.yml:.opsbook/deployed.yml',
])
  test(`F10: SECRETS_FILE without the COMPOSE_FILE of the .env is refused, with both files: ${line}`, async (t) => {
    const dir = tempDir(t);
    for (const [name, text] of [
      ['.env', line],
      ['.env.x', 'A=1'],
      ['compose.yml', ''],
    ] as const)
      writeFileSync(join(dir, name), `${text}\n`);
    const settings = { APP_DIR: dir, SECRETS_FILE: '.env.x' } as unknown as AppSettings;
    await assert.rejects(composeApp(localHost(), settings, signal), (error: Failure) => {
      assert.equal(error.exit, 2);
      assert.match(
        error.message,
        /\/\.env has COMPOSE_FILE=compose\.yml:prod\.yml, and SECRETS_FILE, .*\/\.env\.x, has none/,
      );
      assert.match(error.next ?? '', /move COMPOSE_FILE into .*\/\.env\.x/);
      return true;
    });
  });
