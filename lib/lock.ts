import { randomUUID } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { basename, dirname } from 'node:path';
import { CommandFailure, cmd } from './command.ts';
import type { Context } from './definition.ts';
import { EXIT, Failure, messageOf } from './failure.ts';
import { duration } from './format.ts';
import { localHost } from './hosts.ts';
import type { Host } from './shell.ts';
import { asOwner, stateFileOn } from './state.ts';

/**
 * A lock on a host on which nothing of ours stays open, as over SSM: a keeper that is left behind holds it, for as long
 * as its lease is renewed, so that it ends by itself some minutes after a run that died.
 */
export interface Lease {
  /** What the owner before had left in the lock file. */
  readonly left: string;
  release(): Promise<void>;
}

const LEASE_S = 180;
const RENEW_MS = 40_000;
/** What asks for a lease, renews or releases it takes a moment; that of a host that does not answer is given up. */
const withinS = 60;

/** Takes the lock of $1 for the owner $2 until the file $3 is gone, or $4 seconds old. It exits with $5 when it is held. */
const TAKE = `exec 9>> "$1"
flock --nonblock 9 || exit "$5"
last=$(cat "$1"); printf '%s\\n' "$2" > "$1"; : > "$3"
setsid sh -c "$KEEP" keeper "$1" "$3" "$4" < /dev/null > /dev/null 2>&1 &
printf '%s\\n' "$last"`;

/** An owner who released it is erased; one who died is left for the next to read. */
const KEEP = `while [ -e "$2" ] && [ $(($(date +%s) - $(stat -c %Y "$2"))) -lt "$3" ]; do sleep 1; done
[ -e "$2" ] || : > "$1"
rm -f "$2"`;

/** @throws CommandFailure with the exit code `held` when another has the lock */
export async function takeLease(host: Host, path: string, owner: string, held: number): Promise<Lease> {
  const folder = dirname(path);
  const name = basename(path);
  const lease = `${name}.${randomUUID()}`;
  const take = cmd`sh -c ${TAKE} take ${name} ${owner} ${lease} ${LEASE_S} ${held}`;
  const left = await host.run({ ...asOwner(folder, take), env: { KEEP }, withinS });
  // One that could not be renewed is noticed by whoever takes it; there is nothing else to do about it here.
  const renew = () =>
    void host.run({ ...asOwner(folder, cmd`touch --no-create ${lease}`), withinS }).catch(() => {});
  const timer = setInterval(renew, RENEW_MS);
  timer.unref();
  return {
    left,
    async release() {
      clearInterval(timer);
      const RELEASE = 'rm -f "$2"; flock --wait 10 "$1" true';
      const release = asOwner(folder, cmd`sh -c ${RELEASE} release ${name} ${lease}`);
      await host.run({ ...release, withinS });
    },
  };
}

/** Who holds a lock: written into the lock file, for whoever finds it held. */
interface Owner {
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
  const name = basename(path);
  const hold = cmd`sh -c ${HOLD} hold ${name} ${JSON.stringify(owner)}`;
  const flock = cmd`flock --nonblock --conflict-exit-code ${CONFLICT} --no-fork ${name} ${hold}`;
  const holder = host.start(asOwner(dirname(path), flock));
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
  const owner = parseOwner(await host.run(asOwner(dirname(path), cmd`cat ${basename(path)}`)));
  if (!owner)
    return new Failure(`another run holds ${path}`, { exit: EXIT.locked, next: 'try again shortly' });
  const age = duration(now.getTime() - Date.parse(owner.started));
  return new Failure(
    `${owner.script} has been running for ${age} (process ${owner.pid} of ${owner.user} on ${owner.host}, lock ${path})`,
    { exit: EXIT.locked, next: `wait for it, or end it on ${owner.host}: kill ${owner.pid}` },
  );
}

/** Takes the lock of a run on the host that it works on, until the run ends. */
export async function exclude(name: string, lock: string, context: Context): Promise<void> {
  const { host } = context;
  // Here it is no command that --verbose has to tell of; elsewhere it goes by the connection that there is.
  await excludeOn(host.target === 'local' ? localHost() : host.uninterrupted, lock, name, context);
}

/**
 * Takes one of the app's locks on a host, until the run ends, and tells whose work was cut off.
 * @param what the name under which others find it held
 * @throws Failure with exit 75 that names the holder, when another run has it
 */
export async function excludeOn(
  host: Host,
  lock: string,
  what: string,
  { settings, report, defer }: Pick<Context, 'settings' | 'report' | 'defer'>,
): Promise<void> {
  const held = await acquire(host, await stateFileOn(host, settings.APP_DIR, `${lock}.lock`), what);
  defer(() => giveBack(held, report));
  if (!held.inherited) return;
  const { script, pid, started } = held.inherited;
  const ago = duration(Date.now() - Date.parse(started));
  report.warn(
    `${script} (process ${pid}, started ${ago} ago) died without finishing; its lock was taken over`,
  );
}

/** Releases a lock; that it was lost on the way, with the connection to its host, does not undo what was done. */
async function giveBack(held: Lock, report: Pick<Context['report'], 'warn'>): Promise<void> {
  await held.release().catch((error: unknown) => {
    report.warn(
      `the lock was lost on the way, and another run may have worked beside this one: ${messageOf(error)}`,
    );
  });
}
