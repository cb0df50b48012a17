import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, count, duration, parseAge, table } from '../../lib/format.ts';

test('bytes are told in powers of 1000', () => {
  for (const [n, text] of [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1_234_567, '1.2 MB'],
    [999_949, '999.9 kB'],
    [999_950, '1.0 MB'],
    [6_000_000_000, '6.0 GB'],
    [3.2e18, '3200.0 PB'],
  ] as const)
    assert.equal(bytes(n), text);
});

test('durations are told in their two largest units', () => {
  for (const [ms, text] of [
    [-5, '0.0 s'],
    [0, '0.0 s'],
    [440, '0.4 s'],
    [59_949, '59.9 s'],
    [59_950, '1 min 0 s'],
    [125_000, '2 min 5 s'],
    [3_599_999, '1 h 0 min'],
    [93_780_000, '26 h 3 min'],
    [273_600_000, '3 d 4 h'],
  ] as const)
    assert.equal(duration(ms), text);
});

test('nouns follow their number', () => {
  for (const [n, noun, text] of [
    [0, 'file', '0 files'],
    [1, 'file', '1 file'],
    [1, 'address', '1 address'],
    [2, 'address', '2 addresses'],
    [999, 'file', '999 files'],
    [20_000, 'file', '20,000 files'],
    [1_234_567, 'file', '1,234,567 files'],
  ] as const)
    assert.equal(count(n, noun), text);
});

test('tables are aligned, without spaces behind', () => {
  assert.equal(
    table([['part', 'size'], ['database', '1 MB'], ['x', '234 MB'], ['short']], [1]),
    'part        size\ndatabase    1 MB\nx         234 MB\nshort',
  );
});

test('ages are numbers of minutes, hours, days or weeks', () => {
  for (const [raw, ms] of [
    ['90m', 5_400_000],
    ['26h', 93_600_000],
    ['7d', 604_800_000],
    ['4w', 2_419_200_000],
  ] as const)
    assert.equal(parseAge(raw), ms);
  for (const raw of ['', '7', 'd', '7 d', '7days', '-1d', '1.5h', '7D', '7d '])
    assert.throws(() => parseAge(raw), /such as 26h/, raw);
});
