import { randomUUID } from 'node:crypto';
import { basename, dirname } from 'node:path';
import type { Host } from './host.ts';
import { asOwner } from './state.ts';

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
  const times = [String(LEASE_S), String(held)];
  const left = await host.run({
    argv: asOwner(folder, 'sh', '-c', TAKE, 'take', name, owner, lease, ...times),
    env: { KEEP },
    withinS,
  });
  // One that could not be renewed is noticed by whoever takes it; there is nothing else to do about it here.
  const renew = () =>
    void host.run({ argv: asOwner(folder, 'touch', '--no-create', lease), withinS }).catch(() => {});
  const timer = setInterval(renew, RENEW_MS);
  timer.unref();
  return {
    left,
    async release() {
      clearInterval(timer);
      const RELEASE = 'rm -f "$2"; flock --wait 10 "$1" true';
      await host.run({ argv: asOwner(folder, 'sh', '-c', RELEASE, 'release', name, lease), withinS });
    },
  };
}
