import { hostname, userInfo } from 'node:os';
import { basename, dirname } from 'node:path';
import { CommandFailure } from './command.ts';
import { EXIT, Failure } from './failure.ts';
import { duration } from './format.ts';
import type { Host } from './host.ts';
import { asOwner } from './state.ts';

/** Who holds a lock: written into the lock file, for whoever finds it held. */
export interface Owner {
  script: string;
  user: string;
  host: string;
  pid: number;
  started: string;
}

export interface Lock {
  /** The owner who died without releasing it, if there was one. */
  readonly inherited: Owner | undefined;
  release(): Promise<void>;
}

/**
 * Holds the lock for as long as its standard input is open, so that the kernel frees it when we die, however we
 * die; prints what the last owner left, and erases the owner only when told. Its signals are ignored: Ctrl-C
 * reaches the whole group, and the lock has to outlive our own cleaning up.
 */
const HOLD = `trap '' INT TERM HUP
last=$(cat "$1")
printf '%s\\n' "$2" > "$1"
printf '%s\\n' "$last"
read -r released && : > "$1"`;

const CONFLICT = 75;

/**
 * Takes the lock `path` on `host`. A lock is never stale: flock(2) ends with its holder.
 * @throws Failure with exit 75 that names the holder, when another run has it.
 */
export async function acquire(host: Host, path: string, script: string, now = new Date()): Promise<Lock> {
  const owner: Owner = {
    script,
    user: userInfo().username,
    host: hostname(),
    pid: process.pid,
    started: now.toISOString(),
  };
  if (host.target.startsWith('ssm:')) return acquireLease(host, path, owner, now);
  const holder = host.start({
    argv: asOwner(
      ...([dirname(path), 'flock', '--nonblock', '--conflict-exit-code', String(CONFLICT)] as const),
      ...['--no-fork', basename(path), 'sh', '-c', HOLD, 'hold', basename(path), JSON.stringify(owner)],
    ),
  });
  const first = await Promise.race([
    new Promise<string>((resolve) => holder.stdout.once('data', (data: Buffer) => resolve(data.toString()))),
    holder.done.catch((error: unknown) => error as Error),
  ]);
  if (typeof first !== 'string') throw await refusal(host, path, first as Error, now);
  return {
    inherited: parseOwner(first),
    async release() {
      holder.stdin.end('released\n');
      await holder.done;
    },
  };
}

async function acquireLease(host: Host, path: string, owner: Owner, now: Date): Promise<Lock> {
  const { takeLease } = await import('./lease.ts');
  try {
    const { left, release } = await takeLease(host, path, JSON.stringify(owner), CONFLICT);
    return { inherited: parseOwner(left), release };
  } catch (error) {
    throw await refusal(host, path, error as Error, now);
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    return JSON.parse(text) as Owner;
  } catch {
    return undefined;
  }
}

async function refusal(host: Host, path: string, error: Error, now: Date): Promise<Error> {
  if (!(error instanceof CommandFailure) || error.code !== CONFLICT) return error;
  const owner = parseOwner(await host.run({ argv: asOwner(dirname(path), 'cat', basename(path)) }));
  if (!owner)
    return new Failure(`another run holds ${path}`, { exit: EXIT.locked, next: 'try again shortly' });
  const age = duration(now.getTime() - Date.parse(owner.started));
  return new Failure(
    `${owner.script} runs since ${age} (process ${owner.pid} of ${owner.user} on ${owner.host}, lock ${path})`,
    { exit: EXIT.locked, next: `wait for it, or end it on ${owner.host}: kill ${owner.pid}` },
  );
}
