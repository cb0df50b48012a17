import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Report } from '../../../../lib/report.ts';
import { converge } from '../../../../lib/server/setup/apply.ts';
import { type Item, rooted } from '../../../../lib/server/setup/item.ts';
import { recorder } from '../../kit.ts';
import { strictHost } from './kit.ts';

const item = (title: string): Item => ({
  title,
  so: rooted('is', title),
  there: rooted('has', title),
  make: [rooted('make', title)],
});

/** A fake host on which things are so, other or absent, and which makes them so when told; `stubborn` ones it does not. */
function host(state: Record<string, string>, stubborn: string[] = []) {
  return strictHost(({ argv: [verb, title = ''] }, input) => {
    if (verb === 'make') {
      if (!stubborn.includes(title)) state[title] = 'so';
      return '';
    }
    const asked = [...input.matchAll(/^if quietly is (\w+); then echo (\d+) so$/gm)];
    return asked.map(([, name, i]) => `${i} ${state[name!]}\n`).join('');
  });
}

async function run(on: ReturnType<typeof host>, titles: string[], dryRun = false) {
  const voice = recorder();
  const report = new Report(voice);
  const said: string[] = [];
  const change = async <T>(title: string, _: unknown, act: () => Promise<T>) => {
    said.push(title);
    return dryRun ? undefined : act();
  };
  const context = { host: on, report, dryRun, change } as unknown as Parameters<typeof converge>[1];
  const found = await converge(titles.map(item), context);
  return { found, said };
}

test('what is so is left alone, what is other is changed, what is absent is created', async () => {
  const on = host({ a: 'so', b: 'other', c: 'absent' });
  assert.deepEqual(await run(on, ['a', 'b', 'c']), {
    found: ['so', 'other', 'absent'],
    said: ['~ b', '+ c'],
  });
  assert.deepEqual(
    on.ran.filter(({ argv }) => argv[0] === 'make').map(({ argv }) => argv[1]),
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
  await assert.rejects(run(on, ['a', 'b']), { message: 'fake: made, but still not so: a' });
});

test('what another item has undone is made again: a package that brings a timer', async () => {
  const state: Record<string, string> = { timer: 'so', package: 'absent' };
  const on = strictHost(({ argv: [verb, title = ''] }, input) => {
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

test('a host that did not answer for an item is not taken for one on which it is so', async () => {
  await assert.rejects(run(strictHost(() => '0 so\n') as never, ['a', 'b']), {
    message: 'fake did not say how it stands with: b',
  });
});
