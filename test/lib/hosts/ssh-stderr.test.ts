import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { asides } from '../../../lib/hosts/ssh-stderr.ts';

async function through(chunks: readonly string[]) {
  const heard = asides();
  const said = text(heard.filter);
  for (const chunk of chunks) heard.filter.write(Buffer.from(chunk));
  heard.filter.end();
  return { said: await said, group: heard.group, exit: heard.exit };
}

test('our lines are taken out, wherever they begin and however they are cut', async () => {
  const whole = '\x1eopsbook group 12\nfirst, no end\x1eopsbook exit 7\n';
  for (let size = 1; size <= whole.length; size++) {
    const chunks = whole.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
    assert.deepEqual(await through(chunks), { said: 'first, no end', group: '12', exit: 7 }, `by ${size}`);
  }
});

test('what only looks like ours is passed on, and so are bytes of any alphabet', async () => {
  for (const plain of [
    '\x1eother\n',
    '\x1e',
    'päß 日本\n',
    '\x1eopsbook exit x\n',
    `\x1e${'opsbook '.repeat(9)}`,
  ])
    assert.equal((await through([plain])).said, plain);
});
