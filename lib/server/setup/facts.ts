import type { Command } from '../../command.ts';
import { shell } from './item.ts';
import { SSHD } from './sshd.ts';

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
