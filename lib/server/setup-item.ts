import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { type Command, cmd } from '../command.ts';
import { type Act, type Item, root, shell } from './converge.ts';
import type { System } from './setup-settings.ts';

const OWNED = `[ "$(stat -c '%a %U:%G' "$1")" = "$2" ]`;
const IS = `[ -f "$1" ] && ${OWNED} && echo "$3  $1" | sha256sum --check --status`;

/** Never half a file at its path. cron and sudo ignore the temporary one: its name has a dot. */
const PUT = `set -eu
mkdir -p "$2"
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "$4" "$new"
chmod "$3" "$new"
mv -f "$new" "$1"`;

interface FileSpec {
  title: string;
  path: string;
  content: string;
  /** As stat prints it; 644 by default. */
  mode?: string;
  /** Makes its readers read it again. */
  after?: readonly Act[];
}

/** A file of root's with this content, put where it belongs whole. */
export function file({ title, path, content, mode = '644', after = [] }: FileSpec): Item {
  const sum = createHash('sha256').update(content).digest('hex');
  const owner = 'root:root';
  const about = `write ${path} (${mode} ${owner}):`;
  return at(path, title, shell(IS, path, `${mode} ${owner}`, sum), [
    { ...shell(PUT, path, dirname(path), mode, owner), about, input: content },
    ...after,
  ]);
}

/** An empty file that its owner then writes to: only its mode and owner are checked. */
export const emptyFile = (title: string, path: string, mode: string, owner: string): Item =>
  at(path, title, shell(`[ -f "$1" ] && ${OWNED}`, path, `${mode} ${owner}`), [
    shell(`set -eu; umask 077; : >> "$1"; chown "$3" "$1"; chmod "$2" "$1"`, path, mode, owner),
  ]);

/** A directory; what is in it stays as it is. */
export const directory = (title: string, path: string, mode: string, owner: string): Item =>
  at(path, title, shell(`[ -d "$1" ] && ${OWNED}`, path, `${mode} ${owner}`), [
    root`mkdir -p ${path}`,
    root`chown ${owner} ${path}`,
    root`chmod ${mode} ${path}`,
  ]);

/** A file that must not be there any more. */
export const noFile = (title: string, path: string): Item =>
  at(path, title, shell('[ ! -e "$1" ]', path), [root`rm -f ${path}`]);

/** What is made at a path, where something else may be. */
const at = (path: string, title: string, so: Command, make: readonly Act[]): Item => ({
  ...{ title, so, make },
  there: root`test -e ${path}`,
});

/** A service that runs, and does so after a boot. */
export const running = (title: string, unit: string, more = ':'): Item => ({
  title,
  so: shell(`systemctl is-enabled "$1" && systemctl is-active "$1" && ${more}`, unit),
  there: shell('systemctl cat "$1"', unit),
  make: [root`systemctl enable --now ${unit}`],
});

/** Asks nothing, restarts services that need it, keeps edited configuration, and waits for dpkg's lock as well. */
const APT_ENV = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'a' };
const APT_GET = cmd`apt-get -qy -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold`;

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
const apt = (...args: string[]): Act[] => [
  { ...shell(WAIT), about: 'wait until nobody else holds the locks of apt' },
  { ...root`dpkg --configure -a`, env: APT_ENV },
  { ...root`${APT_GET} ${args}`, env: APT_ENV },
];

const STAMP = '/var/lib/opsbook/updated';
const TODAY = `[ -n "$(find "$1" -mmin -1440 2>/dev/null)" ]`;
const SIMULATED = 'apt-get -s -o Debug::NoLocking=1 --with-new-pkgs upgrade';

const TOUCH = shell('mkdir -p "$(dirname "$1")" && touch "$1"', STAMP);

/** Upgrades what is installed, once a day. */
export function updates({ packages }: System): Item {
  const title = 'packages up to date';
  if (packages === 'dnf') {
    const so = shell(`${TODAY} && dnf -q check-update`, STAMP);
    return { title, so, make: [root`dnf -y upgrade`, TOUCH] };
  }
  // A bare image has no lists, and then nothing to upgrade either.
  const listed = `ls /var/lib/apt/lists/*_Packages* && plan=$(${SIMULATED}) && ! echo "$plan" | grep -q '^Inst'`;
  const upgrade = apt('--with-new-pkgs', 'upgrade').slice(1);
  return { title, so: shell(`${TODAY} && ${listed}`, STAMP), make: [...apt('update'), ...upgrade, TOUCH] };
}

/** Packages, installed and configured: half-installed ones are not. */
export function installed({ packages }: System, title: string, names: readonly string[]): Item {
  if (packages === 'dnf') return { title, so: root`rpm -q ${names}`, make: [root`dnf -y install ${names}`] };
  const each = `for name; do dpkg-query -W -f '\${Status}' "$name" | grep -qx 'install ok installed' || exit 1; done`;
  const make = apt('install', '--no-install-recommends', '--fix-broken', ...names);
  return { title, so: shell(each, ...names), make };
}

/** A download for each architecture, as `uname -m` says it, and its SHA-256. */
export type Pinned = readonly [x86_64: string, itsSha256: string, aarch64: string, sha256: string];

/** Fetches into $t/it what was pinned, or nothing: a release may be replaced, a download cut short. */
const FETCH = `set -eu
case $(uname -m) in
  x86_64) url=$1 sum=$2 ;;
  aarch64) url=$3 sum=$4 ;;
  *) echo "no binary for $(uname -m)" >&2; exit 1 ;;
esac
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
curl -fsSL --retry 3 -o "$t/it" "$url"
got=$(sha256sum < "$t/it" | cut -d ' ' -f 1)
[ "$got" = "$sum" ] || { echo "$url is not what was pinned: its SHA-256 is $got, not $sum" >&2; exit 1; }`;

/** A program, put where it belongs once it was checked. */
export const program = (pinned: Pinned, path: string): Act =>
  shell(`${FETCH}\ninstall -D -m 755 "$t/it" "$5.new"\nmv -f "$5.new" "$5"`, ...pinned, path);

/** An archive, unpacked into a directory that is there whole or not at all. */
export const archive = (pinned: Pinned, path: string): Act =>
  shell(
    `${FETCH}
rm -rf "$5.new" "$5"
mkdir -p "$5.new"
tar -xJf "$t/it" -C "$5.new" --strip-components=1 --no-same-owner
mv "$5.new" "$5"`,
    ...pinned,
    path,
  );
