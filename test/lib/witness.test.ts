import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localHost } from '../../lib/shell.ts';

const argv = (script: string): [string, ...string[]] => ['sh', '-c', script];
const host = localHost();

test('a command that has a witness ended well only when the witness was heard', async () => {
  assert.equal(await host.run({ argv: argv('echo out; echo done >&2'), witness: 'done' }), 'out\n');
  await assert.rejects(
    host.run({ argv: argv('echo half of it'), witness: 'done' }),
    /sh ended before its command did/,
  );
  await assert.rejects(
    host.run({ argv: argv('echo done >&2; exit 3'), witness: 'done' }),
    /sh exited with 3/,
  );
});
