import { type Item, shell } from '../item.ts';
import type { System } from '../system.ts';
import { installed, running } from './packages.ts';
import { type Pinned, program } from './pinned.ts';

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
