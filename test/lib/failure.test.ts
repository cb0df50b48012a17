import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkAll,
  EXIT,
  Failure,
  framesOf,
  Interrupted,
  messageOf,
  Problems,
  sentence,
} from '../../lib/failure.ts';
import { Secret } from '../../lib/secret.ts';

const fails = (message: string, exit?: (typeof EXIT)[keyof typeof EXIT]) => () => {
  throw new Failure(message, exit === undefined ? {} : { exit });
};

test('checks that pass return what they found', async () => {
  assert.deepEqual(await checkAll([() => {}, async () => 1]), [undefined, 1]);
});

test('one problem is thrown as it is', async () => {
  await assert.rejects(checkAll([() => {}, fails('disk is full')]), {
    name: 'Failure',
    message: 'disk is full',
  });
});

test('every check runs, and all problems are reported together, in order', async () => {
  const error = await checkAll([fails('a'), () => {}, async () => fails('b')()]).catch((e: unknown) => e);
  assert.ok(error instanceof Problems);
  assert.deepEqual(
    error.problems.map((p) => p.message),
    ['a', 'b'],
  );
});

test('problems of a check that found several are told one by one', async () => {
  const several = () => {
    throw new Problems([new Failure('a'), new Failure('b')]);
  };
  const error = (await checkAll([several, fails('c')]).catch((e: unknown) => e)) as Problems;
  assert.equal(error.problems.length, 3);
});

test('problems exit 2 when one of them is usage, else 1', () => {
  assert.equal(new Problems([new Failure('a'), new Failure('b', { exit: EXIT.usage })]).exit, 2);
  assert.equal(new Problems([new Failure('a'), new Failure('b')]).exit, 1);
});

test('a bug in a check is not taken for a problem', async () => {
  const bug = () => {
    throw new TypeError('x is undefined');
  };
  await assert.rejects(checkAll([fails('a'), bug]), TypeError);
});

test('what ended a run is one line that says how to go on', () => {
  for (const [error, line] of [
    [new Failure('no bucket x', { next: 'create it' }), 'no bucket x. Next: create it'],
    [new Failure('no bucket x'), 'no bucket x'],
    [new Failure('first\nsecond'), 'first'],
    [new Problems([new Failure('a', { next: 'b' }), new Failure('c')]), 'a. Next: b; c'],
    [new Interrupted('SIGTERM'), 'interrupted by SIGTERM'],
    [new TypeError('oops'), 'unexpected: oops. Next: run it with --verbose and report what it shows'],
    ['a string', 'unexpected: a string. Next: run it with --verbose and report what it shows'],
  ] as const)
    assert.equal(sentence(error), line);
});

test('an error without a message is known by its name', () => {
  assert.equal(messageOf(new RangeError()), 'RangeError');
});

test("V1: what a parser could not read is not in its message, whoever's it is, nor in what --verbose shows", () => {
  for (const text of [
    'hunter-hush',
    'a\nhunter-hush',
    '{"A": hunter-hush, "B": "and more of it, to be long"}',
  ])
    try {
      JSON.parse(text);
      assert.fail('is JSON');
    } catch (error) {
      assert.equal(messageOf(error), 'is not valid JSON');
      assert.doesNotMatch(sentence(error), /hush/);
      assert.match(framesOf(error as Error), /^ +at JSON\.parse.*\n +at .*failure\.test/);
      assert.doesNotMatch(framesOf(error as Error), /hush/);
    }
});

test('V1: a secret is not in the message of an error that quotes it', () => {
  const secret = new Secret('hunter-in-message');
  assert.equal(messageOf(new TypeError(`no "x" in ${secret.reveal()}`)), 'no "x" in [redacted]');
});
