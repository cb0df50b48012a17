import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { asides } from '../../../lib/ssh.ts';

async function through(chunks: readonly string[], stream: 'stdout' | 'stderr' = 'stderr') {
  const heard = asides();
  const said = text(heard[stream]);
  for (const chunk of chunks) heard[stream].write(Buffer.from(chunk));
  heard[stream].end();
  return { said: await said, group: heard.group, exit: heard.exit, before: heard.before };
}

/** A text cut into pieces of every size. */
const cuts = (whole: string) =>
  Array.from({ length: whole.length }, (_, i) => whole.match(new RegExp(`[^]{1,${i + 1}}`, 'g')) ?? []);

test('our lines are taken out, wherever they begin and however they are cut', async () => {
  const whole = '\x1eopsbook group 12\nfirst, no end\x1eopsbook exit 7\n';
  for (const chunks of cuts(whole)) {
    const { said, group, exit } = await through(chunks);
    assert.deepEqual(
      { said, group, exit },
      { said: 'first, no end', group: '12', exit: 7 },
      `${chunks.length}`,
    );
  }
});

test('F9: what profile files print before the command begins is not its output', async () => {
  for (const chunks of cuts('Welcome!\n\x1e\n\x1eopsbook begin\n{"a":1}\n\x1eopsbook begin\n')) {
    const { said, before } = await through(chunks, 'stdout');
    assert.deepEqual(
      { said, before },
      { said: '{"a":1}\n\x1eopsbook begin\n', before: '' },
      `${chunks.length}`,
    );
  }
  for (const chunks of cuts('locale: no such\n\x1eopsbook group 12\nown\n\x1eopsbook exit 0\n'))
    assert.equal((await through(chunks)).said, 'own\n', `${chunks.length}`);
});

test('F9: what a login shell said that ran no command is kept for the failure', async () => {
  const refused = 'This account is currently not available.\n';
  assert.deepEqual(await through([refused], 'stdout'), {
    ...{ said: '', before: refused },
    ...{ group: undefined, exit: undefined },
  });
});

test('what only looks like ours is passed on, and so are bytes of any alphabet', async () => {
  const begun = '\x1eopsbook group 12\n';
  for (const plain of [
    '\x1eother\n',
    '\x1e',
    'päß 日本\n',
    '\x1eopsbook exit x\n',
    `\x1e${'opsbook '.repeat(9)}`,
  ])
    for (const before of ['', begun]) assert.equal((await through([before + plain])).said, plain);
});
