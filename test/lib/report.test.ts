import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Report } from '../../lib/output.ts';
import { Secret } from '../../lib/secret.ts';
import { recorder } from './kit.ts';

test('a step is announced, may tell how far it is, and is told when done', async () => {
  const voice = recorder();
  const result = await new Report(voice).step('dump', async (step) => {
    step.progress({ done: 1, total: 2, unit: 'files' });
    step.note('2 files');
    return 7;
  });
  assert.equal(result, 7);
  assert.deepEqual(voice.heard, [
    ['start', 'dump'],
    ['progress', 'dump', { done: 1, total: 2, unit: 'files' }],
    ['done', 'dump', '2 files'],
  ]);
});

test('a step that fails is told as failed, and its error goes on', async () => {
  const voice = recorder();
  const failing = new Report(voice).step('dump', () => Promise.reject(new Error('no space')));
  await assert.rejects(failing, /no space/);
  assert.deepEqual(voice.heard.at(-1), ['failed', 'dump']);
});

test('everything that is said is masked, and so is the answer', async () => {
  new Secret('tell-nobody');
  const voice = recorder();
  const answers: string[] = [];
  const report = new Report(voice, (text) => answers.push(text));
  await report.step('a tell-nobody', async (step) => step.note('b tell-nobody'));
  await report.step('c tell-nobody', () => Promise.reject(new Error('x'))).catch(() => {});
  report.info('d tell-nobody');
  report.warn('e tell-nobody');
  report.error('f tell-nobody');
  report.summary('g tell-nobody');
  report.output('h', 'tell-nobody');
  report.data('{"i":"tell-nobody"}');
  assert.deepEqual(answers, ['{"i":"[redacted]"}\n']);
  assert.deepEqual(report.warnings, ['e [redacted]']);
  assert.doesNotMatch(JSON.stringify(voice.heard), /tell-nobody/);
  assert.equal(voice.heard.length, 9);
});

test('A7: what would move a cursor or colour a terminal is written out, whoever wrote it', () => {
  const voice = recorder();
  const written: string[] = [];
  const report = new Report(voice, (text) => void written.push(text));
  report.info('key \x1b]0;owned\x07\x1b[2J of\u202e a\tstore\nnext');
  report.data('a\rb\x9b31m');
  assert.deepEqual(voice.heard, [
    ['say', 'info', 'key \\u001b]0;owned\\u0007\\u001b[2J of\\u202e a\tstore\nnext'],
  ]);
  assert.deepEqual(written, ['a\\u000db\\u009b31m\n']);
});

test('A7: an answer in JSON is JSON whatever is masked in it', () => {
  const answer = (data: unknown): unknown => {
    let written = '';
    new Report(recorder(), (text) => {
      written += text;
    }).data(JSON.stringify(data));
    return JSON.parse(written);
  };
  new Secret('77553311');
  new Secret('"quoted"');
  new Secret('nighttime');
  for (const same of [
    { target: 'ssm://i-0123456789abcdef0', ok: true, stdout: 'alice@example.org\n' },
    { url: 'https://bloaty.example.org', who: 'deploy@laptop' },
    { url: 'http://host:8080', who: 'deploy@laptop' },
    ['http://host:8080', 'a@b'],
    { log: '{"url":"http://host:8080","who":"a@b"}' },
    { log: '\nightmare', count: 123456, big: 1e21, none: null },
  ])
    assert.deepEqual(answer(same), same);
  assert.deepEqual(
    answer({
      stdout: 'postgres://app:pa,s\'s@db/x "quoted" \\nighttime \nighttime',
      ...{ bytes: 77553311, nighttime: true },
    }),
    {
      stdout: 'postgres://app:[redacted]@db/x [redacted] \\[redacted] \nighttime',
      ...{ bytes: '[redacted]', '[redacted]': true },
    },
  );
});
