import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cmd } from '../../lib/command.ts';
import { localHost } from '../../lib/hosts.ts';
import { acquire } from '../../lib/lock.ts';
import { tempDir, until } from './kit.ts';

const here = import.meta.dirname;
const host = localHost();

function lockFile(t: TestContext): string {
  const file = join(tempDir(t), 'backup.lock');
  writeFileSync(file, '');
  return file;
}

/** Takes the lock, and gives it back at the latest when the test ends. */
async function take(t: TestContext, file: string, script: string, now?: Date): ReturnType<typeof acquire> {
  const held = await acquire(host, file, script, now);
  t.after(() => held.release().catch(() => {}));
  return held;
}

/** Another process that holds the lock, in a process group of its own. */
async function otherHolder(
  t: TestContext,
  file: string,
): Promise<{ child: ChildProcess; said: () => string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(here, 'holder.ts'), file], {
    ...{ detached: true, stdio: ['pipe', 'pipe', 'inherit'] },
  });
  let text = '';
  child.stdout?.on('data', (data) => (text += data));
  t.after(() => child.kill('SIGKILL'));
  await until('it is held', () => text.includes('held'));
  return { child, said: () => text };
}

test('a lock that is free is taken, names its owner, and is erased on release', async (t) => {
  const file = lockFile(t);
  const held = await take(t, file, 'backup', new Date('2026-01-02T03:04:05Z'));
  assert.equal(held.inherited, undefined);
  const { username: user } = userInfo();
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    ...{ script: 'backup', user, host: hostname(), pid: process.pid, started: '2026-01-02T03:04:05.000Z' },
  });
  await held.release();
  assert.equal(readFileSync(file, 'utf8'), '');
});

test('a second holder is refused with 75 and told who, where and for how long', async (t) => {
  const file = lockFile(t);
  const held = await take(t, file, 'backup', new Date('2026-01-02T03:04:05Z'));
  const who = `process ${process.pid} of ${userInfo().username} on ${hostname()}`;
  await assert.rejects(take(t, file, 'prune', new Date('2026-01-02T03:06:10Z')), {
    message: `backup has been running for 2 min 5 s (${who}, lock ${file})`,
    next: `wait for it, or end it on ${hostname()}: kill ${process.pid}`,
    exit: 75,
  });
  await held.release();
});

test('a lock that another holds in the middle of taking or releasing it is refused all the same', async (t) => {
  const file = lockFile(t);
  const holder = host.start(cmd`flock --no-fork ${file} sh -c ${'echo held; cat'}`);
  t.after(() => holder.stdin.end());
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  await assert.rejects(take(t, file, 'prune'), { message: `another run holds ${file}`, exit: 75 });
});

test('after a release the lock is free again, and nothing is inherited', async (t) => {
  const file = lockFile(t);
  for (const script of ['backup', 'prune', 'backup']) {
    const held = await take(t, file, script);
    assert.equal(held.inherited, undefined);
    await held.release();
  }
});

test('the lock of a holder killed with SIGKILL is taken over, and the owner is heard of', async (t) => {
  const file = lockFile(t);
  const { child } = await otherHolder(t, file);
  await assert.rejects(take(t, file, 'backup'), { exit: 75 });
  child.kill('SIGKILL');
  const held = await takeOver(t, file);
  assert.equal(held.inherited?.pid, child.pid);
  await held.release();
});

/** The kernel frees the lock when the holder is gone: soon, but not at once. */
async function takeOver(t: TestContext, file: string): ReturnType<typeof acquire> {
  for (const end = Date.now() + 10_000; ; ) {
    try {
      return await take(t, file, 'backup');
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

test('Ctrl-C reaches the whole process group, and the lock is held until it is released', async (t) => {
  const file = lockFile(t);
  const { child, said } = await otherHolder(t, file);
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) signalGroupBut(child, signal);
  await until('it heard of it', () => said().includes('interrupted'));
  await assert.rejects(take(t, file, 'prune'), { exit: 75 });
  child.stdin?.write('release\n');
  await until('it is released', () => said().includes('released'));
  const held = await take(t, file, 'prune');
  assert.equal(held.inherited, undefined);
  await held.release();
});

/** SIGINT to all of the group, as a terminal sends it; the others to all but the holder, who would die of them. */
function signalGroupBut(child: ChildProcess, signal: NodeJS.Signals): void {
  const group = child.pid as number;
  if (signal === 'SIGINT') return void process.kill(-group, signal);
  const children = readFileSync(`/proc/${group}/task/${group}/children`, 'utf8').trim().split(' ');
  for (const pid of children) process.kill(Number(pid), signal);
}

test('what is no owner is not inherited', async (t) => {
  const file = lockFile(t);
  writeFileSync(file, '{"script":"ba');
  const held = await take(t, file, 'backup');
  assert.equal(held.inherited, undefined);
  await held.release();
});

test('a lock file that cannot be opened is a failure of flock, not a conflict', async (t) => {
  const absent = join(tempDir(t), 'absent', 'backup.lock');
  await assert.rejects(take(t, absent, 'backup'), {
    exit: 1,
    message: /^sh exited with .*can't cd to .*absent/,
  });
});
