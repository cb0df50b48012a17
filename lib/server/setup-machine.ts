import { type Item, root, shell } from './converge.ts';
import type { Source } from './setup.ts';
import { archive, installed, type Pinned, program, running, updates } from './setup-item.ts';
import type { System } from './setup-settings.ts';

const BASE = {
  apt: ['ca-certificates', 'curl', 'git', 'jq', 'cron', 'logrotate', 'xz-utils'],
  // The image has curl-minimal, with which curl would conflict.
  dnf: ['git', 'jq', 'cronie', 'logrotate', 'tar', 'xz'],
} as const;

const CRON = { apt: 'cron', dnf: 'crond' } as const;

/** What every machine has before it has an app, in the order in which it is made so. */
export const machine = (system: System): Item[] => [
  updates(system),
  installed(system, 'tools that the scripts use', BASE[system.packages]),
  running('cron runs, also after a boot', CRON[system.packages]),
  swap,
  ...docker(system),
];

const SWAP_FILE = '/swapfile';

/** Memory enough, or swap that is there after a boot too where it is ours. */
const HAS_SWAP = `[ "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)" -ge 2097152 ] && exit 0
[ "$(wc -l < /proc/swaps)" -gt 1 ] && { ! grep -q "^$1 " /proc/swaps || grep -q "^$1 " /etc/fstab; }`;

/** Writes the file and does not just allocate it: not every file system can swap to holes. */
const MAKE_SWAP = `set -eu
if ! grep -q "^$1 " /proc/swaps; then
  rm -f "$1"
  gib=$(awk '/^MemTotal:/ { print int(($2 + 1048575) / 1048576) }' /proc/meminfo)
  (umask 077; dd if=/dev/zero of="$1" bs=1M count=$((gib * 1024)) status=none)
  mkswap "$1" >/dev/null
  swapon "$1"
fi
grep -q "^$1 " /etc/fstab || echo "$1 none swap sw 0 0" >> /etc/fstab`;

/** With less than 2 GiB and no swap, a build takes the memory of the database, which is then killed. */
const swap: Item = {
  title: `swap as large as the memory (${SWAP_FILE}), where that is under 2 GiB`,
  so: shell(HAS_SWAP, SWAP_FILE),
  there: shell('grep -q "^$1 " /proc/swaps', SWAP_FILE),
  make: [shell(MAKE_SWAP, SWAP_FILE)],
};

const PLUGINS = '/usr/local/lib/docker/cli-plugins';

/** The checksums are those of the releases, as Docker's own image (docker:29-cli) pins them too. */
const COMPOSE: Pinned = [
  'https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-x86_64',
  'dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372',
  'https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-aarch64',
  'd26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137',
];
const BUILDX: Pinned = [
  'https://github.com/docker/buildx/releases/download/v0.30.1/buildx-v0.30.1.linux-amd64',
  'c37114fcd034025ec68e224657c8a5a850df472ded3ddcbca75ad3a7ebb9710d',
  'https://github.com/docker/buildx/releases/download/v0.30.1/buildx-v0.30.1.linux-arm64',
  '31d012d52d6df68aef4b55db62330967b562811f0de30cdfaa4505f314797c76',
];

/** The version on stdin is at least $1; what comes before the first digit, and after a dash, does not count. */
const AT_LEAST = `sed -n 's/^[^0-9]*\\([0-9][0-9.]*\\).*/\\1/p' | { read -r found; printf '%s\\n' "$1" "$found" | sort -VC; }`;

/** The oldest Compose that knows \`!reset\` and \`!override\`, which production overlays need. */
const OLDEST_COMPOSE = '2.24.4';
/** Compose from 2.33 on builds by a buildx no older than this, and says so only when it builds. */
const OLDEST_BUILDX = '0.17.0';

/** Docker's engine, and Compose v2 and buildx that suit each other: the distribution's own two do. */
const docker = (system: System): Item[] => [
  installed(system, `Docker (${system.docker.join(' ')})`, system.docker),
  running('Docker runs, also after a boot', 'docker', 'docker info'),
  ...(system.pinned ? plugins : [answering]),
];

const answering: Item = {
  title: 'docker compose and docker buildx answer',
  so: shell(`docker buildx version && docker compose version --short | ${AT_LEAST}`, OLDEST_COMPOSE),
  make: [
    shell(
      `echo "Compose or buildx is missing, or older than the packages: look into ${PLUGINS} and ~/.docker/cli-plugins" >&2; exit 1`,
    ),
  ],
};

const plugins: Item[] = [
  {
    title: 'Compose v2.40.3, pinned by SHA-256',
    so: shell(`docker compose version --short | ${AT_LEAST}`, OLDEST_COMPOSE),
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
const TARBALL: Pinned = [
  `https://nodejs.org/dist/${NODE}/node-${NODE}-linux-x64.tar.xz`,
  'fd8e59d5a511510f6a298afb548f18c7d2b1be404d8b4a27d94fbe49f56cb2d6',
  `https://nodejs.org/dist/${NODE}/node-${NODE}-linux-arm64.tar.xz`,
  '6ad1325edbdb5649c379b75a237147a666c95d4f9ae8d340fef2d1575d289ad2',
];

/** npm writes node_modules/.package-lock.json last. */
const MODULES = `cd "$1" && [ -x node_modules/.bin/tsx ] && [ -x node_modules/.bin/node ] &&
  [ node_modules/.package-lock.json -nt package-lock.json ]`;

const CHECKOUT = `set -eu
mkdir -p "$1"
cd "$1"
git init -q
git remote add origin "$2" 2>/dev/null || git remote set-url origin "$2"
git fetch -q --depth 1 origin "$3"
git checkout -q --force --detach FETCH_HEAD`;

/**
 * opsbook itself on the host, so that cron can run its scripts: the commit that is setting up, and its dependencies.
 * The distributions' npm is too old on some and a few hundred packages on others, so a pinned Node brings one.
 */
export function opsbook(dir: string, source: Source | undefined): Item[] {
  const fetched: Item[] = source
    ? [
        {
          title: `opsbook ${source.commit.slice(0, 12)} in ${dir}`,
          so: shell('[ "$(git -C "$1" rev-parse HEAD)" = "$2" ]', dir, source.commit),
          there: root`test -e ${dir}/package.json`,
          make: [shell(CHECKOUT, dir, source.repository, source.commit)],
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
      title: "opsbook's dependencies, by npm ci",
      so: shell(MODULES, dir),
      there: root`test -e ${dir}/node_modules`,
      make: [
        {
          ...root`npm ci --omit=dev --no-audit --no-fund`,
          env: { PATH: `${NODE_DIR}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` },
          cwd: dir,
        },
      ],
    },
  ];
}
