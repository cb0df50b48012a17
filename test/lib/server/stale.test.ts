import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Command, wordsOf } from '../../../lib/command.ts';
import type { SecretsSettings } from '../../../lib/server/secret-settings.ts';
import { runningContainers } from '../../../lib/server/stale.ts';
import { type Host, shellOf } from '../../../lib/shell.ts';

test('R3: a container that has another pin of the version than the env file by now is not stale', async () => {
  const environment = { COMPOSE_FILE: 'a.yml:.opsbook/deployed.yml', PASSWORD: 'new' };
  const container = {
    ...{ Name: '/shop-web-1', State: { Running: true } },
    Config: { Env: ['PASSWORD=old'], Cmd: null, Labels: { 'com.docker.compose.service': 'web' } },
  };
  const run = async (command: Command) => {
    const argv = wordsOf(command);
    if (argv.includes('config')) return JSON.stringify({ services: { web: { environment } } });
    return argv.includes('inspect') ? JSON.stringify([container]) : 'id\n';
  };
  const host = { name: 'fake', target: 'local', $: shellOf(run), run } as unknown as Host;
  const settings = { APP_DIR: '/opt/shop' } as SecretsSettings;
  const stale = async () => (await runningContainers(host, settings)).map((one) => one.stale);
  assert.deepEqual(await stale(), [['PASSWORD']]);
});
