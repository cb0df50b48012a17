import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wordsOf } from '../../../lib/command.ts';
import { Report } from '../../../lib/output.ts';
import { converge, type Item, root } from '../../../lib/server/converge.ts';
import { recorder } from '../kit.ts';
import { strictHost } from './setup-kit.ts';

const item = (title: string): Item => ({
  title,
  so: root`is ${title}`,
  there: root`has ${title}`,
  make: [root`make ${title}`],
});

/** A fake host on which things are so, other or absent, and which makes them so when told; `stubborn` ones it does not. */
function host(state: Record<string, string>, stubborn: string[] = []) {
  return strictHost((command, input) => {
    const [verb, title = ''] = wordsOf(command);
    if (verb === 'make') {
      if (!stubborn.includes(title)) state[title] = 'so';
      return '';
    }
    const asked = [...input.matchAll(/^if quietly is (\w+); then echo (\d+) so$/gm)];
    return asked.map(([, name, i]) => `${i} ${state[name!]}\n`).join('');
  });
}

async function run(on: ReturnType<typeof host>, titles: Array<string | Item>, dryRun = false, more = {}) {
  const voice = recorder();
  const report = new Report(voice);
  const said: string[] = [];
  const change = async <T>(title: string, _: unknown, act: () => Promise<T>) => {
    said.push(title);
    return dryRun ? undefined : act();
  };
  const signal = new AbortController().signal;
  const context = { ...{ host: on, report, dryRun, change, signal }, ...more } as unknown as Parameters<
    typeof converge
  >[1];
  const found = await converge(
    titles.map((title) => (typeof title === 'string' ? item(title) : title)),
    context,
  );
  return { found, said };
}

test('what is so is left alone, what is other is changed, what is absent is created', async () => {
  const on = host({ a: 'so', b: 'other', c: 'absent' });
  assert.deepEqual(await run(on, ['a', 'b', 'c']), {
    found: ['so', 'other', 'absent'],
    said: ['~ b', '+ c'],
  });
  assert.deepEqual(
    on.ran.map((command) => wordsOf(command)).flatMap(([verb, title]) => (verb === 'make' ? [title] : [])),
    ['b', 'c'],
  );
});

test('a host on which all is so is asked once, and nothing is made', async () => {
  const on = host({ a: 'so', b: 'so' });
  await run(on, ['a', 'b']);
  assert.equal(on.ran.length, 1);
});

test('a dry run makes nothing', async () => {
  const on = host({ a: 'absent', b: 'other' });
  assert.deepEqual((await run(on, ['a', 'b'], true)).said, ['+ a', '~ b']);
  assert.equal(on.ran.length, 1);
});

test('what was made and still is not so is an error', async () => {
  const on = host({ a: 'absent', b: 'so' }, ['a']);
  await assert.rejects(run(on, ['a', 'b']), { message: 'fake: applied, but still not in effect: a' });
});

test('what another item has undone is made again: a package that brings a timer', async () => {
  const state: Record<string, string> = { timer: 'so', package: 'absent' };
  const on = strictHost((command, input) => {
    const [verb, title = ''] = wordsOf(command);
    if (verb === 'make') {
      state[title] = 'so';
      if (title === 'package') state['timer'] = 'other';
      return '';
    }
    const asked = [...input.matchAll(/^if quietly is (\w+); then echo (\d+) so$/gm)];
    return asked.map(([, name, i]) => `${i} ${state[name!]}\n`).join('');
  });
  assert.deepEqual((await run(on, ['timer', 'package'])).said, ['+ package', '~ timer']);
});

const guarded: Item = {
  ...item('door'),
  guard: { name: 'door', files: ['/etc/door'], heed: 'reload', proof: root`prove door` },
};
const doorOf = (state: Record<string, string>) =>
  strictHost((command, input) => {
    const [verb, , text = ''] = wordsOf(command);
    if (verb === 'make') state['door'] = 'so';
    if (verb === 'sh' && text.includes('systemctl start')) state['door'] = 'undone';
    return input ? `0 ${state['door']}\n` : '';
  });
const steps = ({ ran }: ReturnType<typeof doorOf>) =>
  ran
    .map((command) => wordsOf(command))
    .flatMap(([verb, , text = '']) =>
      verb !== 'sh'
        ? [verb]
        : ([/systemd-run/, /systemctl start/, /systemctl stop/]
            .map((what, i) => (what.test(text) ? ['arm', 'undo', 'disarm'][i] : undefined))
            .filter(Boolean)
            .slice(0, 1) as string[]),
    );

test('H1: what may close the way in is armed, made, proven, and kept only after a new login', async () => {
  const state: Record<string, string> = { door: 'other' };
  const on = doorOf(state);
  const login = async () => void on.ran.push(root`login`);
  await run(on, [guarded], false, { login });
  assert.deepEqual(steps(on), ['arm', 'make', 'prove', 'login', 'disarm']);
  assert.equal(state['door'], 'so');
});

test('H1: a new login that fails undoes it, and the failure says so', async () => {
  const state: Record<string, string> = { door: 'other' };
  const on = doorOf(state);
  const login = () => Promise.reject(new Error('a new login failed: it does not answer'));
  await assert.rejects(run(on, [guarded], false, { login }), {
    message: 'fake: door: a new login failed: it does not answer; it was undone',
  });
  assert.deepEqual(steps(on), ['arm', 'make', 'prove', 'undo']);
  assert.equal(state['door'], 'undone');
});

test('a host that did not answer for an item is not taken for one on which it is so', async () => {
  await assert.rejects(run(strictHost(() => '0 so\n') as never, ['a', 'b']), {
    message: 'fake did not report the state of: b',
  });
});
