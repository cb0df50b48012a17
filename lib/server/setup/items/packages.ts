import { type Act, type Item, shell } from '../item.ts';
import type { System } from '../system.ts';

/** Asks nothing, restarts what has to be, keeps edited configuration, and waits for dpkg's lock as well. */
const APT_ENV = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'a' };
const APT_OPTIONS = [
  ...['-qy', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Options::=--force-confdef'],
  ...['-o', 'Dpkg::Options::=--force-confold'],
];

/**
 * Waits up to five minutes for apt's locks, of which apt itself waits for one only, and says who holds them. Locks of
 * fcntl(2) are in /proc/locks, by an inode that another file system may have as well: who holds one has it open.
 */
const WAIT = `holder() {
  for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
    [ -e "$lock" ] || continue
    for pid in $(awk -v inode="$(stat -c %i "$lock")" '{ n = split($6, at, ":") } at[n] == inode { print $5 }' /proc/locks); do
      [ -z "$(find "/proc/$pid/fd" -lname "$lock" 2>/dev/null)" ] || return 0
    done
  done
  return 1
}
told= end=$(($(date +%s) + 300))
while holder; do
  who="process $pid ($(cat "/proc/$pid/comm" 2>/dev/null || echo ended))"
  [ "$told" = "$who" ] || echo "waiting for the lock of apt ($lock), held by $who" >&2
  told=$who
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "the lock of apt ($lock) is held by $who for more than 5 minutes" >&2
    exit 1
  fi
  sleep 0.5
done`;

/** Each command that needs apt's locks; an interrupted dpkg is finished first. */
export const apt = (...args: string[]): Act[] => [
  { ...shell(WAIT), about: 'wait until nobody else holds the locks of apt' },
  { argv: ['dpkg', '--configure', '-a'], env: APT_ENV, root: true },
  { argv: ['apt-get', ...APT_OPTIONS, ...args], env: APT_ENV, root: true },
];

const dnf = (...args: string[]): Act[] => [{ argv: ['dnf', '-y', ...args], root: true }];

const STAMP = '/var/lib/opsbook/updated';
const TODAY = `[ -n "$(find "$1" -mmin -1440 2>/dev/null)" ]`;
const SIMULATED = 'apt-get -s -o Debug::NoLocking=1 --with-new-pkgs upgrade';

const TOUCH = shell('mkdir -p "$(dirname "$1")" && touch "$1"', STAMP);

/** The newest of what is installed, looked for once a day. */
export function updates({ packages }: Pick<System, 'packages'>): Item {
  if (packages === 'dnf')
    return {
      title: 'packages up to date',
      so: shell(`${TODAY} && dnf -q check-update`, STAMP),
      make: [...dnf('upgrade'), TOUCH],
    };
  return {
    title: 'packages up to date',
    // A bare image has no lists, and then nothing to upgrade either.
    so: shell(
      `${TODAY} && ls /var/lib/apt/lists/*_Packages* && plan=$(${SIMULATED}) && ! echo "$plan" | grep -q '^Inst'`,
      STAMP,
    ),
    make: [...apt('update'), ...apt('--with-new-pkgs', 'upgrade').slice(1), TOUCH],
  };
}

/** Packages, installed and configured: half-installed ones are not. */
export function installed(
  { packages }: Pick<System, 'packages'>,
  title: string,
  names: readonly string[],
): Item {
  if (packages === 'dnf')
    return {
      title,
      so: { argv: ['rpm', '-q', ...names], root: true },
      make: dnf('install', ...names),
    };
  return {
    title,
    so: shell(
      `for name; do dpkg-query -W -f '\${Status}' "$name" | grep -qx 'install ok installed' || exit 1; done`,
      ...names,
    ),
    make: apt('install', '--no-install-recommends', '--fix-broken', ...names),
  };
}

/** A service that runs, and does so after a boot. */
export const running = (title: string, unit: string, more = ':'): Item => ({
  title,
  so: shell(`systemctl is-enabled "$1" && systemctl is-active "$1" && ${more}`, unit),
  there: shell('systemctl cat "$1"', unit),
  make: [{ argv: ['systemctl', 'enable', '--now', unit], root: true }],
});
