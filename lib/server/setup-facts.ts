import { option } from '../definition.ts';
import type { Command } from '../shell.ts';
import { shell } from './setup-item.ts';

/**
 * Functions of shell, for root, that ask a host for its sshd.
 *
 * - `ssh_connection`: `$SSH_CONNECTION` of this very login, from the nearest process that has it, since sudo drops it;
 *   nothing where nobody came by ssh.
 * - `sshd_says ARGUMENT…`: what sshd makes of all its files and of the options of its service, as `sshd -T` prints it;
 *   without the file `$hidden`, where that is set.
 * - `sshd_session PID`: succeeds for the process of a login. Before OpenSSH 9.8 it is called `sshd` too, and what it
 *   forwards looks like sshd's: its title tells it from what listens; dropbear's are children of a dropbear.
 * - `sshd_listens`: where sshd, or systemd for it, listens now: `address:port`.
 * - `sshd_here`: the same as address and port by which this machine reaches it.
 * - `sshd_ports`: each port by which sshd is reached or may be after a restart, sorted: of this connection, of what
 *   listens, of the files, but not where only this machine reaches it; 22 where none is known.
 */
export const SSHD = `ssh_connection() {
  pid=$$
  while [ "\${pid:-0}" -gt 0 ]; do
    found=$(tr '\\0' '\\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p')
    [ -z "$found" ] || { echo "$found"; return; }
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
  done
}
sshd_says() (
  mkdir -p /run/sshd
  set -f
  sshd=$(command -v sshd || echo /usr/sbin/sshd)
  options=$(sed -n 's/^[[:space:]]*\\(SSHD_OPTS\\|OPTIONS\\)=//p' /etc/default/ssh /etc/sysconfig/sshd 2>/dev/null | tail -1 | tr -d "\\"'")
  [ -e "\${hidden:-}" ] || exec "$sshd" -T $options "$@"
  exec unshare --mount sh -c 'mount --bind /dev/null "$0" && exec "$@"' "$hidden" "$sshd" -T $options "$@"
)
sshd_session() {
  title=$(tr '\\0' ' ' 2>/dev/null <"/proc/$1/cmdline")
  case $title in *'[listener]'*) return 1 ;; 'sshd: '[!/]*) return 0 ;; esac
  parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
  [ "$(cat "/proc/$1/comm" "/proc/$parent/comm" 2>/dev/null | tr '\\n' ' ')" = 'dropbear dropbear ' ]
}
sshd_listens() {
  ss -Htlnp | grep -E '"(sshd|dropbear)"' | while read -r _ _ _ address _ users; do
    for pid in $(echo "$users" | grep -oE '"(sshd|dropbear)",pid=[0-9]+' | sed 's/.*=//'); do
      sshd_session "$pid" || { echo "$address"; break; }
    done
  done
  systemctl list-sockets --no-legend --plain --full | awk '($2 $3) ~ /ssh|dropbear/ && $1 ~ /^(\\[.*\\]|\\*|[0-9.]+):[0-9]+$/ { print $1 }'
}
sshd_here() {
  sshd_listens | sort -u | sed -E 's/:([0-9]+)$/ \\1/; s/%[^] ]*//; s/^\\[(.*)\\]/\\1/; s/^0\\.0\\.0\\.0 /127.0.0.1 /; s/^(\\*|::) /localhost /'
}
sshd_ports() {
  {
    ssh_connection | cut -d ' ' -f 4
    sshd_listens
    sshd_says | sed -n 's/^port //p; s/^listenaddress //p'
  } 2>/dev/null | sed -E '/^(127\\.|\\[::1\\]|\\[::ffff:127\\.)/d; s/.*://' | grep -x '[0-9][0-9]*' | sort -nu | grep . || echo 22
}`;

/** Succeeds when sshd answers on this machine wherever it listens; of one that listens nowhere nothing is seen. */
export const GREETS = `sshd_here | while read -r address port; do
  timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && read -r -n 4 word <&3 && [ "$word" = SSH- ]' bash "$address" "$port" 2>/dev/null && continue
  echo "sshd does not answer at port $port of $address" >&2
  exit 1
done`;

/** What the set-up has to know of a host before it can be planned. */
export interface Facts {
  /** `ID` and `VERSION_ID` of /etc/os-release: `debian` `13`, `ubuntu` `24.04`, `amzn` `2023`. */
  os: string;
  version: string;
  /** As `uname -m` says it. */
  machine: string;
  freeMb: number;
  systemd: boolean;
  /** Docker's own packages (docker-ce) are installed: the distribution's must not be mixed with them. */
  dockerCe: boolean;
  /** The user who logged in to do this, before sudo. */
  login: string;
  /** The ports by which sshd is reached; none where nothing is known of the host. */
  sshPorts: number[];
  /** The zone by which cron goes. */
  zone: string;
  /** opsbook is in its directory. */
  opsbook: boolean;
  /** The system has a unit of the app's name, such as docker.service. */
  taken: boolean;
}

/** Prints the facts as `name=value`, a line each; asks nobody but the host itself. */
const ASK = `${SSHD}
. /etc/os-release
echo "os=$ID"; echo "version=\${VERSION_ID:-}"; echo "machine=$(uname -m)"
df -Pm / | awk 'NR == 2 { print "freeMb=" $4 }'
[ -d /run/systemd/system ] && echo systemd=1
dpkg-query -W -f '\${Status}' docker-ce 2>/dev/null | grep -q '^install ok' && echo dockerCe=1
rpm -q docker-ce >/dev/null 2>&1 && echo dockerCe=1
echo "login=\${SUDO_USER:-$(id -un)}"
echo "sshPorts=$(sshd_ports | tr '\\n' ' ')"
echo "zone=$(date +%Z)"
[ -e "$1/scripts/backup/backup.ts" ] && echo opsbook=1
[ -e "/usr/lib/systemd/system/$2.service" ] || [ -e "/lib/systemd/system/$2.service" ] && echo taken=1
:`;

export const askFacts = (opsbookDir: string, app: string): Command => shell(ASK, opsbookDir, app);

export function parseFacts(text: string): Facts {
  const told = new Map(
    text.split('\n').map((line) => {
      const [name = '', ...value] = line.split('=');
      return [name, value.join('=').trim()] as const;
    }),
  );
  const word = (name: string) => told.get(name) ?? '';
  return {
    os: word('os'),
    version: word('version'),
    machine: word('machine'),
    freeMb: Number(word('freeMb')),
    systemd: told.has('systemd'),
    dockerCe: told.has('dockerCe'),
    login: word('login'),
    sshPorts: word('sshPorts').split(' ').filter(Boolean).map(Number),
    zone: word('zone'),
    opsbook: told.has('opsbook'),
    taken: told.has('taken'),
  };
}

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

export const userDataFlag = option(
  '--user-data <system>',
  `print a script that does it all at first boot, for ${systemNames.join(', ')}; no host is asked`,
  (raw) => {
    const system = systemNamed(raw);
    if (!system) throw new Error(`is none of ${systemNames.join(', ')}`);
    return system;
  },
);
