import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockRows, parseSeen, rebootRows } from '../../../../lib/server/verify-host.ts';
import {
  diskRows,
  inodeRows,
  memoryRows,
  parseFileSystems,
  swapRows,
} from '../../../../lib/server/verify-machine.ts';

const HEAD = 'Filesystem     Type     1024-blocks     Used Available Capacity Mounted on';
const df = (...lines: string[]) => [HEAD, ...lines].join('\n');
const root = (used: number, free: number) => `/dev/nvme0n1p1 ext4 20000000 ${used} ${free} 50% /`;

test('disk: each file system once, and none that is no disk', () => {
  const systems = parseFileSystems(
    df(
      root(10, 90),
      root(10, 90),
      '/dev/loop3 squashfs 100 100 0 100% /snap/core/1',
      'tmpfs tmpfs 100 99 1 99% /run',
      'overlay overlay 100 50 50 50% /var/lib/docker/overlay2/abc/merged',
      '/dev/nvme1n1 xfs 100 95 5 95% /home/ec2-user/my data',
      'none tmpfs 0 0 0 - /empty',
    ),
  );
  assert.deepEqual(
    systems.map(({ mount }) => mount),
    ['/', '/home/ec2-user/my data'],
  );
});

test('disk and inodes: nine tenths is a problem, eight a warning, below is well', () => {
  for (const rows of [diskRows, inodeRows]) {
    assert.equal(rows(df(root(90, 10)))[0]?.state, 'problem');
    assert.equal(rows(df(root(80, 20)))[0]?.state, 'warning');
    assert.equal(rows(df(root(79, 21)))[0]?.state, 'ok');
  }
});

test('✗ G4: low disk is not answered with docker system prune, which deletes data of stopped stacks', () => {
  assert.doesNotMatch(diskRows(df(root(95, 5)))[0]?.todo ?? '', /prune/);
});

const meminfo = (total: number, available: number, swap = 0, free = 0) =>
  `MemTotal: ${total} kB\nMemAvailable: ${available} kB\nSwapTotal: ${swap} kB\nSwapFree: ${free} kB\n`;

test('memory: a twentieth left is a problem, a tenth a warning', () => {
  assert.equal(memoryRows(meminfo(2_000_000, 90_000))[0]?.state, 'problem');
  assert.equal(memoryRows(meminfo(2_000_000, 190_000))[0]?.state, 'warning');
  assert.equal(memoryRows(meminfo(2_000_000, 210_000))[0]?.state, 'ok');
});

test('swap: used up is a problem, none on a small machine a warning', () => {
  assert.equal(swapRows(meminfo(2_000_000, 1, 1000, 100))[0]?.state, 'problem');
  assert.equal(swapRows(meminfo(2_000_000, 1, 1000, 900))[0]?.state, 'ok');
  assert.equal(swapRows(meminfo(2_000_000, 1))[0]?.state, 'warning');
  assert.equal(swapRows(meminfo(8_000_000, 1))[0]?.state, 'ok');
});

test('clock: more than five seconds off is a problem, unless the way explains it', () => {
  const state = (offsetMs: number, uncertainMs: number, ntp = '') =>
    clockRows({ offsetMs, uncertainMs }, ntp)[0]?.state;
  assert.equal(state(-5_200, 100), 'problem');
  assert.equal(state(5_200, 300), 'ok');
  assert.equal(state(10, 5, 'NTPSynchronized=no\n'), 'warning');
  assert.equal(state(10, 5, 'NTPSynchronized=yes\n'), 'ok');
});

test('reboot: one that is pending is said with what wants it', () => {
  assert.equal(rebootRows('')[0]?.state, 'ok');
  assert.match(rebootRows('required\nlinux-image\nlibc6\n')[0]?.found ?? '', /by linux-image, libc6/);
});

const part = (name: string, body: string, end = ' 0 ') => `\x1e${name}\n${body}\x1f${end}\n`;
const ns = (ms: number) => `${ms}000000\n`;

test('what was seen is taken apart, with the clock as NTP reckons it', () => {
  // Half a second there, three quarters back, two seconds of work; the host is ten seconds ahead.
  const text = `${part('from', ns(11_500))}${part('disk', 'a\nb\n')}${part('ports', '', ' 1 ss: not found')}${part('to', ns(13_500))}`;
  const seen = parseSeen(text, 1_000, 4_250, 'host');
  assert.deepEqual(seen.section('disk'), { text: 'a\nb\n', failed: '' });
  assert.equal(seen.section('ports').failed, 'ss: not found');
  assert.equal(seen.clock.uncertainMs, 625);
  assert.ok(Math.abs(seen.clock.offsetMs - 10_000) <= seen.clock.uncertainMs);
});

test('a look that broke off is an error, not an empty finding', () => {
  assert.throws(() => parseSeen(part('from', ns(1)), 0, 1, 'host'), /host: the look at it broke off/);
});
