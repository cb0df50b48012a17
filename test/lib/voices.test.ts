import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { actions, bar, lines, terminal } from '../../lib/output.ts';
import { Secret } from '../../lib/secret.ts';
import { tempDir } from './kit.ts';

const noFiles = { output: undefined, summary: undefined };

test('a log gets one timestamped line a step, and nothing that moves', () => {
  let text = '';
  const voice = lines(
    'backup',
    (t) => (text += t),
    () => new Date('2026-01-02T03:04:05.678Z'),
  );
  voice.start('dump');
  voice.progress('dump', { done: 1, unit: 'bytes' }, 5);
  voice.done('dump', '12 rows', 3100);
  voice.done('check', '', 40);
  voice.failed('store', 61_000);
  voice.say('info', 'hello');
  voice.say('warning', 'smaller');
  voice.say('error', 'two\nlines');
  voice.table('a  b\n1  2');
  voice.output('id', '1');
  assert.deepEqual(text.split('\n'), [
    '2026-01-02T03:04:05Z backup: dump: 12 rows (3.1 s)',
    '2026-01-02T03:04:05Z backup: check: done (0.0 s)',
    '2026-01-02T03:04:05Z backup: store: FAILED (1 min 1 s)',
    '2026-01-02T03:04:05Z backup: hello',
    '2026-01-02T03:04:05Z backup: warning: smaller',
    '2026-01-02T03:04:05Z backup: error: two',
    '2026-01-02T03:04:05Z backup: lines',
    '2026-01-02T03:04:05Z backup: a  b',
    '2026-01-02T03:04:05Z backup: 1  2',
    '',
  ]);
});

test('GitHub Actions gets a group for each step, and annotations', () => {
  let text = '';
  const voice = actions('backup', (t) => (text += t), noFiles);
  voice.start('dump');
  voice.progress('dump', { done: 1, unit: 'bytes' }, 5);
  voice.done('dump', '12 rows', 3100);
  voice.start('store');
  voice.failed('store', 1000);
  voice.say('info', 'hello');
  voice.say('warning', '50% smaller\r\nthan before');
  voice.say('error', 'no bucket');
  assert.deepEqual(
    text.split('\n').filter((line) => !line.startsWith('::add-mask::')),
    [
      ...['::group::dump', '12 rows (3.1 s)', '::endgroup::'],
      ...['::group::store', 'FAILED (1.0 s)', '::endgroup::'],
      ...['hello', '::warning::backup: 50%25 smaller%0D%0Athan before', '::error::backup: no bucket', ''],
    ],
  );
});

test('GitHub Actions is told of each secret once, before anything that could hold it', () => {
  new Secret('100% hidden\nkey');
  let text = '';
  const voice = actions('backup', (t) => (text += t), noFiles);
  voice.say('error', 'a');
  voice.say('error', 'b');
  const masks = text.split('\n').filter((line) => line === '::add-mask::100%25 hidden%0Akey');
  assert.equal(masks.length, 1);
  assert.ok(text.indexOf('::add-mask::100%25') < text.indexOf('::error::'));
});

test('text is not taken for a command by GitHub Actions', () => {
  let text = '';
  const voice = actions('backup', (t) => (text += t), noFiles);
  voice.say('info', 'the file a\n::add-mask::the\n  ##[error]x');
  voice.table('::set-output name=x::y');
  voice.done('t', '::error::z', 1);
  for (const line of text.split('\n')) assert.doesNotMatch(line, /^\s*(::(?!endgroup)|##\[)/);
});

test('GitHub Actions gets outputs and a summary in its files', (t) => {
  const folder = tempDir(t);
  const files = { output: join(folder, 'output'), summary: join(folder, 'summary') };
  const voice = actions('backup', () => {}, files);
  voice.output('backup-id', '20260102-030405');
  voice.output('note', 'a\nadmin=true');
  voice.table('a  b\n1  2');
  assert.equal(readFileSync(files.output, 'utf8'), 'backup-id=20260102-030405\nnote=a admin=true\n');
  assert.equal(readFileSync(files.summary, 'utf8'), '### backup\n\n```\na  b\n1  2\n```\n');
});

test('a bar shows the share, the amount and the rate', () => {
  for (const [progress, ms, text] of [
    [{ done: 0, total: 10, unit: 'files' }, 0, '░░░░░░░░░░░░░░░░░░░░ 0% 0 files'],
    [{ done: 5e8, total: 1e9, unit: 'bytes' }, 5000, '██████████░░░░░░░░░░ 50% 500.0 MB, 100.0 MB/s'],
    [{ done: 999, total: 1000, unit: 'rows' }, 1000, '████████████████████ 99% 999 rows, 999 rows/s'],
    [{ done: 12, total: 10, unit: 'files' }, 1000, '████████████████████ 100% 12 files, 12 files/s'],
    [{ done: 2000, unit: 'bytes' }, 1000, '2.0 kB, 2.0 kB/s'],
    [{ done: 5, total: 0, unit: 'files' }, 1000, '5 files, 5 files/s'],
  ] as const)
    assert.equal(bar(progress, ms), text);
});

/** What a terminal of 80 columns is given. */
async function onTerminal(colours: boolean, act: (voice: ReturnType<typeof terminal>) => void) {
  const stream = Object.assign(new PassThrough(), {
    ...{ isTTY: true, columns: 200, hasColors: () => colours, getColorDepth: () => (colours ? 8 : 1) },
    ...{ cursorTo: () => true, clearLine: () => true, moveCursor: () => true },
  });
  act(terminal(await import('ora'), stream as unknown as NodeJS.WriteStream));
  stream.end();
  return (await stream.toArray()).join('');
}

function aRun(voice: ReturnType<typeof terminal>): void {
  voice.start('dump');
  voice.progress('dump', { done: 1, total: 2, unit: 'files' }, 1000);
  voice.say('warning', 'smaller');
  voice.done('dump', '12 rows', 3100);
  voice.start('store');
  voice.failed('store', 1000);
  voice.say('error', 'no bucket');
  voice.table('a  b');
}

test('a terminal gets each step, asides that do not disturb it, and how it ended', async () => {
  const text = stripVTControlCharacters(await onTerminal(true, aRun));
  for (const part of [
    'dump',
    '▲ smaller\n',
    '12 rows (3.1 s)\n',
    'store failed (1.0 s)\n',
    '✖ no bucket\n',
    'a  b\n',
  ])
    assert.ok(text.includes(part), `${part} in ${text}`);
});

test('colours are for a terminal that wants them', async () => {
  const colour = /\x1b\[(3|9)\d/;
  assert.match(await onTerminal(true, aRun), colour);
  assert.doesNotMatch(await onTerminal(false, aRun), colour);
});
