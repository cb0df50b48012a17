import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from '../../../../lib/deploy/compose-containers.ts';
import { type Command, CommandFailure, type Host, wordsOf } from '../../../../lib/shell.ts';

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
