import { type Item, rooted, shell } from '../item.ts';
import { archive, type Pinned } from './pinned.ts';

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

const FETCH = `set -eu
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
          make: [shell(FETCH, dir, source.repository, source.commit)],
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
          argv: ['npm', 'ci', '--omit=dev', '--no-audit', '--no-fund'],
          env: { PATH: `${NODE_DIR}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` },
          ...{ cwd: dir, root: true },
        },
      ],
    },
  ];
}
