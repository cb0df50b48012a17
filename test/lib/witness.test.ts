import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cmd, localHost } from '../../lib/shell.ts';

const sh = (script: string) => cmd`sh -c ${script}`;
const host = localHost();

test('a command that has a witness ended well only when the witness was heard', async () => {
  assert.equal(await host.run({ ...sh('echo out; echo done >&2'), marker: 'done' }), 'out\n');
  await assert.rejects(
    host.run({ ...sh('echo half of it'), marker: 'done' }),
    /sh ended before its command did/,
  );
  await assert.rejects(host.run({ ...sh('echo done >&2; exit 3'), marker: 'done' }), /sh exited with 3/);
});
