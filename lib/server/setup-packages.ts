import { cmd } from '../shell.ts';
import type { System } from './setup-facts.ts';
import { type Act, type Item, rooted, shell } from './setup-item.ts';

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
const apt = (...args: string[]): Act[] => [
  { ...shell(WAIT), about: 'wait until nobody else holds the locks of apt' },
  { ...cmd`dpkg --configure -a`, env: APT_ENV, root: true },
  { ...cmd`apt-get ${APT_OPTIONS} ${args}`, env: APT_ENV, root: true },
];

const dnf = (...args: string[]): Act[] => [{ ...cmd`dnf -y ${args}`, root: true }];

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
      so: { ...cmd`rpm -q ${names}`, root: true },
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
  make: [{ ...cmd`systemctl enable --now ${unit}`, root: true }],
});

/** A download for each architecture, as `uname -m` says it, and its SHA-256. */
export interface Pinned {
  x86_64: { url: string; sha256: string };
  aarch64: { url: string; sha256: string };
}

/** Fetches into $t/it what was pinned, or nothing: a release may be replaced, a download cut. */
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

const words = ({ x86_64, aarch64 }: Pinned) => [x86_64.url, x86_64.sha256, aarch64.url, aarch64.sha256];

/** A program, put where it belongs once it was checked. */
export const program = (pinned: Pinned, path: string): Act =>
  shell(`${FETCH}\ninstall -D -m 755 "$t/it" "$5.new"\nmv -f "$5.new" "$5"`, ...words(pinned), path);

/** An archive, unpacked into a directory that is there whole or not at all. */
export const archive = (pinned: Pinned, path: string): Act =>
  shell(
    `${FETCH}
rm -rf "$5.new" "$5"
mkdir -p "$5.new"
tar -xJf "$t/it" -C "$5.new" --strip-components=1 --no-same-owner
mv "$5.new" "$5"`,
    ...words(pinned),
    path,
  );

const PLUGINS = '/usr/local/lib/docker/cli-plugins';

/** The checksums are those of the releases, as Docker's own image (docker:29-cli) pins them too. */
const COMPOSE: Pinned = {
  x86_64: {
    url: 'https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-x86_64',
    sha256: 'dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372',
  },
  aarch64: {
    url: 'https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-aarch64',
    sha256: 'd26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137',
  },
};
const BUILDX: Pinned = {
  x86_64: {
    url: 'https://github.com/docker/buildx/releases/download/v0.30.1/buildx-v0.30.1.linux-amd64',
    sha256: 'c37114fcd034025ec68e224657c8a5a850df472ded3ddcbca75ad3a7ebb9710d',
  },
  aarch64: {
    url: 'https://github.com/docker/buildx/releases/download/v0.30.1/buildx-v0.30.1.linux-arm64',
    sha256: '31d012d52d6df68aef4b55db62330967b562811f0de30cdfaa4505f314797c76',
  },
};

/** A version that is printed is at least $1; what comes before the first digit, and after a dash, is no part of it. */
const AT_LEAST = `sed -n 's/^[^0-9]*\\([0-9][0-9.]*\\).*/\\1/p' | { read -r found; printf '%s\\n' "$1" "$found" | sort -VC; }`;

/** The oldest Compose that knows \`!reset\` and \`!override\`, which production overlays need. */
const OLDEST_COMPOSE = '2.24.4';
/** Compose from 2.33 on builds by a buildx no older than this, and says so only when it builds. */
const OLDEST_BUILDX = '0.17.0';

/** Docker's engine, and Compose v2 and buildx that suit each other. */
export function docker(system: System): Item[] {
  return [
    installed(system, `Docker (${system.docker.join(' ')})`, system.docker),
    running('Docker runs, also after a boot', 'docker', 'docker info'),
    ...(system.pinned ? plugins : [known]),
  ];
}

const compose = (version: string) => shell(`docker compose version --short | ${AT_LEAST}`, version);

/** The distribution's own two suit each other. */
const known: Item = {
  title: 'docker compose and docker buildx answer',
  so: shell(`docker buildx version && docker compose version --short | ${AT_LEAST}`, OLDEST_COMPOSE),
  make: [
    shell(
      'echo "Compose or buildx is missing, or older than the packages: look into /usr/local/lib/docker/cli-plugins and ~/.docker/cli-plugins" >&2; exit 1',
    ),
  ],
};

const plugins: Item[] = [
  {
    title: 'Compose v2.40.3, pinned by SHA-256',
    so: compose(OLDEST_COMPOSE),
    there: shell('docker compose version'),
    make: [program(COMPOSE, `${PLUGINS}/docker-compose`)],
  },
  {
    title: 'buildx v0.30.1, pinned by SHA-256',
    // The third word: "github.com/docker/buildx v0.30.1 9e66234…".
    so: shell(`docker buildx version | cut -d ' ' -f 2 | ${AT_LEAST}`, OLDEST_BUILDX),
    there: shell('docker buildx version'),
    make: [program(BUILDX, `${PLUGINS}/docker-buildx`)],
  },
];

const NODE = 'v24.21.0';
/** Where Node is on a host. */
export const NODE_DIR = `/usr/local/lib/nodejs/${NODE}`;
/** From the release's SHASUMS256.txt. */
const TARBALL: Pinned = {
  x86_64: {
    url: `https://nodejs.org/dist/${NODE}/node-${NODE}-linux-x64.tar.xz`,
    sha256: 'fd8e59d5a511510f6a298afb548f18c7d2b1be404d8b4a27d94fbe49f56cb2d6',
  },
  aarch64: {
    url: `https://nodejs.org/dist/${NODE}/node-${NODE}-linux-arm64.tar.xz`,
    sha256: '6ad1325edbdb5649c379b75a237147a666c95d4f9ae8d340fef2d1575d289ad2',
  },
};

export interface Source {
  repository: string;
  commit: string;
}

/** npm writes node_modules/.package-lock.json last. */
const MODULES = `cd "$1" && [ -x node_modules/.bin/tsx ] && [ -x node_modules/.bin/node ] &&
  [ node_modules/.package-lock.json -nt package-lock.json ]`;

const OPSBOOK_FETCH = `set -eu
mkdir -p "$1"
cd "$1"
git init -q
git remote add origin "$2" 2>/dev/null || git remote set-url origin "$2"
git fetch -q --depth 1 origin "$3"
git checkout -q --force --detach FETCH_HEAD`;

/**
 * opsbook itself on the host, so that cron can run its scripts: the commit that is setting up, and what npm ci makes of
 * it. Distributions' own npm is too old on some and a few hundred packages on others; a pinned Node brings one.
 */
export function opsbook(dir: string, source: Source | undefined): Item[] {
  const fetched: Item[] = source
    ? [
        {
          title: `opsbook ${source.commit.slice(0, 12)} in ${dir}`,
          so: shell('[ "$(git -C "$1" rev-parse HEAD)" = "$2" ]', dir, source.commit),
          there: rooted('test', '-e', `${dir}/package.json`),
          make: [shell(OPSBOOK_FETCH, dir, source.repository, source.commit)],
        },
      ]
    : [];
  return [
    ...fetched,
    {
      title: `Node ${NODE}, pinned by SHA-256, for npm`,
      so: shell(`[ -x "$2/bin/npm" ] || { ${MODULES}; }`, dir, NODE_DIR),
      make: [archive(TARBALL, NODE_DIR)],
    },
    {
      title: `what opsbook depends on, by npm ci`,
      so: shell(MODULES, dir),
      there: rooted('test', '-e', `${dir}/node_modules`),
      make: [
        {
          ...cmd`npm ci --omit=dev --no-audit --no-fund`,
          env: { PATH: `${NODE_DIR}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` },
          ...{ cwd: dir, root: true },
        },
      ],
    },
  ];
}
