import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Command, CommandFailure, wordsOf } from '../../../lib/command.ts';
import { type Container, inspect, stateOf } from '../../../lib/deploy/compose-containers.ts';
import type { Host } from '../../../lib/shell.ts';

const made = (Id: string) => ({
  ...{ Id, Name: `/${Id}`, Image: 'sha256:1', RestartCount: 0, State: { Status: 'running', ExitCode: 0 } },
  ...{ Config: { Image: 'shop/web:1', Labels: {} }, HostConfig: { RestartPolicy: { Name: 'no' } } },
});

/** A host with docker and no shell, on which the container b is gone. */
const hostSaying = (stderr: string) =>
  ({
    async run(command: Command) {
      const [program, ...words] = wordsOf(command);
      assert.equal(program, 'docker');
      if (words.includes('b')) throw new CommandFailure({ command, words: stderr, code: 1, stderr });
      return JSON.stringify(words.filter((word) => /^[ac]$/.test(word)).map(made));
    },
  }) as unknown as Host;

test('R3: containers are looked at without a shell; one that is gone is left out, one that cannot be seen is not', async () => {
  const seen = async (ids: string[], stderr: string) =>
    (await inspect(hostSaying(stderr), ids)).map(({ id }) => id);
  const gone = 'Error response from daemon: No such container: b';
  assert.deepEqual(await seen(['a', 'c'], gone), ['a', 'c']);
  assert.deepEqual(await seen(['a', 'b', 'c'], gone), ['a', 'c']);
  assert.deepEqual(await seen(['b'], gone), []);
  await assert.rejects(seen(['a', 'b'], 'Cannot connect to the Docker daemon'), /Cannot connect/);
});

const container = (more: Partial<Container>): Container => ({
  ...{ id: 'a', name: 'shop-web-2', service: 'web', imageId: 'sha256:1', image: 'shop/web:1', hash: 'h' },
  ...{ status: 'running', exitCode: 0, restarts: 0, restartPolicy: 'unless-stopped' },
  ...more,
});
const health = (status: string, said = '') => ({ health: { status, said } });

for (const [what, all, expected] of [
  ['healthy', [health('healthy')], 'healthy'],
  ['running, and without a health check', [{}], 'healthy'],
  ['healthy beside one that starts', [health('healthy'), health('starting')], 'starting'],
  ['restarting', [{ status: 'restarting', restarts: 1 }], 'starting'],
  ['unhealthy', [health('unhealthy')], 'broken'],
  ['ended', [{ status: 'exited', exitCode: 1 }], 'broken'],
  ['crashed for the third time', [{ restarts: 3 }], 'broken'],
  ['a one-shot that did its work', [{ status: 'exited', restartPolicy: 'no' }], 'healthy'],
  ['a one-shot that failed', [{ status: 'exited', exitCode: 2, restartPolicy: 'no' }], 'broken'],
] as const)
  test(`containers are ${expected}: ${what}`, () => {
    assert.equal(stateOf(all.map(container)).is, expected);
  });

test('what the health check said is told', () => {
  const state = stateOf([container(health('unhealthy', 'connection refused\nmore'))]);
  assert.deepEqual(state, { is: 'broken', what: 'shop-web-2 is unhealthy: connection refused' });
});
