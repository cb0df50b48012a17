import type { Facts } from './facts.ts';

/** What differs between the systems that can be set up. */
export interface System {
  /** As `--user-data` names it. */
  name: string;
  packages: 'apt' | 'dnf';
  /** The packages of Docker, with those of Compose v2 and buildx where the distribution has them. */
  docker: readonly string[];
  /** Compose and buildx come as pinned binaries. */
  pinned: boolean;
  /** The user of the image on EC2. */
  imageUser: string;
}

const DEBIAN = { packages: 'apt', imageUser: 'admin' } as const;
const UBUNTU: Omit<System, 'name'> = {
  ...{ packages: 'apt', imageUser: 'ubuntu', pinned: false },
  docker: ['docker.io', 'docker-compose-v2', 'docker-buildx', 'iptables'],
};

/** By `ID-VERSION_ID` of /etc/os-release. */
const SYSTEMS: Readonly<Record<string, Omit<System, 'name'>>> = {
  'amzn-2023': { packages: 'dnf', docker: ['docker'], pinned: true, imageUser: 'ec2-user' },
  'ubuntu-22.04': UBUNTU,
  'ubuntu-24.04': UBUNTU,
  // Its docker-compose is v1, and it has no buildx.
  'debian-12': { ...DEBIAN, docker: ['docker.io', 'iptables'], pinned: true },
  'debian-13': {
    ...{ ...DEBIAN, pinned: false },
    docker: ['docker.io', 'docker-cli', 'docker-compose', 'docker-buildx', 'iptables'],
  },
};

export const systemNames = Object.keys(SYSTEMS);

/** The system of that name, if it is one that can be set up. */
export function systemNamed(name: string): System | undefined {
  const found = SYSTEMS[name];
  return found && { name, ...found };
}

/** The system of a host; Docker's own packages stay where they are, and get their own plugins. */
export function systemOf({
  os,
  version,
  dockerCe,
}: Pick<Facts, 'os' | 'version' | 'dockerCe'>): System | undefined {
  const found = systemNamed(`${os}-${version}`);
  if (!found || !dockerCe) return found;
  const own = [
    'docker-ce',
    'docker-ce-cli',
    'containerd.io',
    'docker-compose-plugin',
    'docker-buildx-plugin',
  ];
  return { ...found, docker: own, pinned: false };
}
