import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cmd } from '../../lib/command.ts';
import { runForSecret } from '../../lib/host-files.ts';
import { localHost } from '../../lib/hosts.ts';

/** This machine under the name of another: what it was asked to run, and what that wrote. */
function spied(target: string) {
  const outputs: string[] = [];
  const host = localHost();
  const run: typeof host.run = async (command, input) => {
    const text = await host.run(command, input);
    outputs.push(text);
    return text;
  };
  return { host: { ...host, target, run }, outputs };
}

const text = 'A="hush-hush é€"\n\n\nlast line without an end';

test('over SSM the output of a command that writes secrets is encrypted, and comes back whole', async () => {
  const { host, outputs } = spied('ssm://i-0123456789abcdef0');
  assert.equal(await runForSecret(host, cmd`cat`, text), text);
  assert.equal(await runForSecret(host, cmd`printf %s ${text.repeat(500)}`), text.repeat(500));
  assert.ok(outputs.every((output) => output.startsWith('U2FsdGVkX1') && !output.includes('hush')));
});

test('its exit code stays the one of the command', async () => {
  const { host } = spied('ssm://i-0123456789abcdef0');
  await assert.rejects(runForSecret(host, cmd`sh -c ${'echo hush; exit 66'}`), { code: 66 });
});

test('elsewhere the command runs as it is', async () => {
  const { host, outputs } = spied('ssh://deploy@host');
  assert.equal(await runForSecret(host, cmd`cat`, text), text);
  assert.deepEqual(outputs, [text]);
});
