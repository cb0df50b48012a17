import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cmd } from '../../lib/command.ts';
import { localHost } from '../../lib/hosts.ts';
import { takeLease } from '../../lib/lock.ts';

const HELD = 75;
const host = localHost();
const folder = mkdtempSync(join(tmpdir(), 'opsbook-lease-'));
after(() => rmSync(folder, { recursive: true }));

const leasesOf = (name: string) => readdirSync(folder).filter((file) => file.startsWith(`${name}.`));

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !condition(); await sleep(20))
    assert.ok(Date.now() < deadline, 'waited in vain');
}

test('a lease keeps others out until it is released, and then leaves nothing', async () => {
  const path = join(folder, 'one');
  const first = await takeLease(host, path, '{"script":"first"}', HELD);
  assert.equal(first.left.trim(), '');
  await assert.rejects(takeLease(host, path, 'second', HELD), { code: HELD });
  assert.equal(readFileSync(path, 'utf8'), '{"script":"first"}\n');
  await first.release();
  assert.deepEqual(leasesOf('one'), []);
  const second = await takeLease(host, path, 'second', HELD);
  assert.equal(second.left.trim(), '', 'who released it is not told of as dead');
  await second.release();
});

test('a lease that is not renewed ends, and the next one learns whose it was', async () => {
  const path = join(folder, 'two');
  const dead = await takeLease(host, path, 'who died', HELD);
  const [file] = leasesOf('two');
  utimesSync(join(folder, file ?? ''), 0, 0);
  await until(() => leasesOf('two').length === 0);
  const next = await takeLease(host, path, 'next', HELD);
  assert.equal(next.left.trim(), 'who died');
  await next.release();
  await dead.release();
});

test('flock(2) and a lease exclude each other', async () => {
  const path = join(folder, 'three');
  const lease = await takeLease(host, path, 'by lease', HELD);
  await assert.rejects(host.run(cmd`flock --nonblock ${path} true`));
  await lease.release();
  await host.run(cmd`flock --nonblock ${path} true`);
});
