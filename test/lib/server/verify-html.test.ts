import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Secret } from '../../../lib/secret.ts';
import { page, writePage } from '../../../lib/server/verify-html.ts';
import { problem, type Row, type Verification } from '../../../lib/server/verify-report.ts';
import { tempDir } from '../kit.ts';

const HOSTILE = `<script>alert("1")</script> & 'x' \x07 ]]>`;
const hostile: Row = {
  ...{ check: 'logs', ...problem(HOSTILE, HOSTILE, HOSTILE) },
  ...{ host: HOSTILE, lines: [HOSTILE] },
};
const day = (n: number) => new Date(Date.UTC(2026, 10, n)).toISOString();
const backups = [1, 2, 3].map((n) => ({
  ...{ id: `2026110${n}-000000`, started: day(n), bytes: n * 1e8 },
  state: n === 2 ? ('unfinished' as const) : ('complete' as const),
}));
const found: Verification = { app: HOSTILE, at: day(4), hosts: [HOSTILE], rows: [hostile], backups };

/** The elements of a page, in order. @throws Error where it is not well-formed XML */
function elements(html: string): string[] {
  const open: string[] = [];
  const all: string[] = [];
  const body = html.replace(/^<!DOCTYPE html>\n/, '').replace(/<style>[^<]*<\/style>/, '');
  const text = body.replaceAll(
    /<(\/?)([a-zA-Z]\w*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_, end, name, __, empty) => {
      if (end) assert.equal(open.pop(), name);
      else if (!empty) open.push(name);
      if (!end) all.push(name);
      return '';
    },
  );
  assert.deepEqual(open, []);
  assert.doesNotMatch(text, /[<>]|&(?!(?:amp|lt|gt|quot|#39);)/);
  assert.doesNotMatch(html, /[\0-\x08\x0b\x0c\x0e-\x1f]/);
  return all;
}

test('the page is well-formed, escaped everywhere, and loads nothing', () => {
  const html = page(found);
  const names = elements(html);
  assert.ok(!names.some((name) => ['script', 'link', 'img', 'iframe', 'object'].includes(name)));
  assert.doesNotMatch(html, /\s(?:src|href|on\w+)=|url\((?!#)|@import/);
  assert.equal(new Set(html.match(/ id="[^"]+"/g)).size, html.match(/ id="[^"]+"/g)?.length);
});

test('the check of the page finds what is not well-formed', () => {
  for (const wrong of ['<p>a</b>', '<p>', '<p>a < b</p>', '<p>a & b</p>'])
    assert.throws(() => elements(wrong));
});

test('the chart has a bar for each backup, and marks those that are not complete', () => {
  const html = page(found);
  assert.equal(html.match(/<rect class="bar (?:complete|unfinished)"/g)?.length, 3);
  assert.match(html, /20261102-000000: 200\.0 MB, never finished/);
  assert.equal(html.match(/<g><title>[^<]*<\/title><rect[^>]*\/><path class="cross"/g)?.length, 1);
});

test('the chart can draw one backup, many, empty ones, and those of one moment', () => {
  const one = backups[0] as (typeof backups)[0];
  for (const some of [[one], [one, one], [{ ...one, bytes: 0 }], Array.from({ length: 300 }, () => one)]) {
    const html = page({ ...found, backups: some });
    elements(html);
    assert.doesNotMatch(html, /NaN|Infinity|undefined/);
  }
});

test('the page is for its owner alone, without secrets, and whole', async (t) => {
  const file = join(tempDir(t), 'report.html');
  writeFileSync(file, 'old', { mode: 0o644 });
  const secret = new Secret('s3cret&<value>');
  await writePage(file, {
    ...found,
    rows: [{ check: 'logs', ...problem(`said ${secret.reveal()}`, '', '') }],
  });
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.match(readFileSync(file, 'utf8'), /said \[redacted\]/);
  await assert.rejects(writePage(join(file, 'x.html'), found), /--html .*: not written \(ENOTDIR\)/);
});
