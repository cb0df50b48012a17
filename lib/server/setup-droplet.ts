import { type Guard, type Item, notPending, root, shell } from './converge.ts';
import type { Request } from './setup.ts';
import { file, installed, running } from './setup-item.ts';
import type { System } from './setup-settings.ts';
import { GREETS, keysOnly, SSHD } from './setup-sshd.ts';

/** Closes a droplet, which is open to everybody when it is created. On EC2 the security group does most of it. */
export const hardening = ({ system, facts }: Request, user: string): Item[] => [
  ...firewall(system, facts.sshPorts),
  ...fail2ban(system),
  ...unattendedUpgrades(system),
  ...keysOnly([...new Set([user, facts.login])]),
];

/** The login for people and CI that is not root: by key, with sudo that asks for no password. */
export function sudoUser(user: string, login: string): Item[] {
  const sudo = file({
    title: `${user} may use sudo without a password`,
    path: `/etc/sudoers.d/opsbook-${user.replaceAll('.', '-')}`,
    content: `${user} ALL=(ALL) NOPASSWD: ALL\n`,
    mode: '440',
  });
  const keys: Item = {
    title: `the SSH keys of ${login} are ${user}'s too`,
    so: shell(HAS_KEYS, user, login),
    there: shell(FILLED, user),
    only: [
      {
        when: shell(FILLED, login),
        otherwise: `${login} has no ~/.ssh/authorized_keys to copy; give ${user} one`,
      },
    ],
    make: [shell(COPY_KEYS, user, login)],
  };
  return login === user ? [sudo] : [sudo, keys];
}

/** Writes the whole file: its last line may lack a line break, and what is appended would become part of that key. */
const COPY_KEYS = `set -eu
from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
dir=$(getent passwd "$1" | cut -d : -f 6)/.ssh
keys=$dir/authorized_keys
for path in "$dir" "$keys"; do
  [ ! -L "$path" ] || { echo "$path is a symbolic link, which is not followed: give $1 the keys of $2 by hand" >&2; exit 1; }
done
group=$(id -gn "$1")
install -d -m 700 -o "$1" -g "$group" "$dir"
new=$(mktemp "$keys.XXXXXX")
trap 'rm -f "$new"' EXIT
old=$keys
[ -e "$old" ] || old=/dev/null
awk 'FILENAME == ARGV[1] || (NF && !/^#/ && !seen[$0]) { print } { seen[$0] = 1 }' "$old" "$from" > "$new"
chown "$1:$group" "$new"
chmod 600 "$new"
mv -f "$new" "$keys"`;

/** Each key of $2 is one of $1. An empty line in a pattern file would match everything, so only keys are compared. */
const HAS_KEYS = `from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
own=$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys
[ -s "$own" ] && [ "$(stat -c '%a %U' "$own")" = "600 $1" ] && ! grep -v '^#' "$from" | grep -v '^$' | grep -vxFf "$own"`;

const FILLED = '[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]';

/** ufw with these ports of sshd, and whichever it has by then, 80 and 443 open. */
function firewall(system: System, sshPorts: readonly number[]): Item[] {
  const open = ['80/tcp', '443/tcp', '443/udp'];
  const ssh = sshPorts.map((port) => `${port}/tcp`);
  const title = [...(ssh.length > 0 ? ssh : ["sshd's ports"]), ...open].join(', ');
  return [
    installed(system, 'ufw', ['ufw']),
    rulesIn('/etc/ufw/after.rules'),
    rulesIn('/etc/ufw/after6.rules'),
    {
      title: `ufw lets in ${title}, and nothing else`,
      so: shell(`${notPending(ufwGuard)} || exit 1\n${STANDS}`, ...ssh, ...open),
      there: shell(`ufw status | grep -q '^Status: active'`),
      guard: ufwGuard,
      make: [
        { ...shell(OPEN, ...ssh, ...open), about: `ufw allow ${title}, and wherever else sshd listens` },
        root`ufw default deny incoming`,
        root`ufw --force enable`,
        root`ufw reload`,
      ],
    },
  ];
}

const BEGIN = '# BEGIN opsbook: what Docker publishes obeys the firewall too';
const END = '# END opsbook';

/**
 * Docker's own rules let in whatever it publishes, before ufw's rules apply (moby#4737); it leaves the chain DOCKER-USER
 * to us. ufw loads this with its own rules, at boot before Docker starts. The ports are those of the host, before they
 * are translated to a container's.
 */
const RULES = `*filter
:DOCKER-USER - [0:0]
-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A DOCKER-USER -i docker0 -j RETURN
-A DOCKER-USER -i br-+ -j RETURN
-A DOCKER-USER -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A DOCKER-USER -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A DOCKER-USER -p udp -m conntrack --ctorigdstport 443 -j RETURN
-A DOCKER-USER -j DROP
COMMIT`;

const BLOCK = `${BEGIN}\n${RULES}\n${END}`;

/** $1 the file, $2 the first line of the block, $3 its last, $4 the block itself. */
const HAS = `[ "$(sed -n "\\|^$2\\$|,\\|^$3\\$|p" "$1")" = "$4" ]`;
const WRITE = `set -eu
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
sed "\\|^$2\\$|,\\|^$3\\$|d" "$1" > "$new"
printf '%s\\n' "$4" >> "$new"
chmod --reference="$1" "$new"
mv -f "$new" "$1"`;

const rulesIn = (path: string): Item => ({
  title: `${path}: Docker's published ports, too`,
  so: shell(HAS, path, BEGIN, END, BLOCK),
  there: root`grep -qxF ${BEGIN} ${path}`,
  make: [shell(WRITE, path, BEGIN, END, BLOCK)],
});

/** Adds each port by which sshd is reached before the given ones. */
const SSH_RULES = `${SSHD}
set -- $(sshd_ports | sed 's|$|/tcp|') "$@"`;

/** ufw's own file lists what was allowed; `limit` lets in as well, and is not made an `allow`. */
const ALLOWED = `allowed() {
  grep -Eq "^### tuple ### (allow|limit) \${1#*/} \${1%/*} 0.0.0.0/0 any 0.0.0.0/0 in" /etc/ufw/user.rules
}`;

const STANDS = `${SSH_RULES}
${ALLOWED}
ufw status verbose | { read -r line; [ "$line" = 'Status: active' ] && grep -q '^Default: deny (incoming)'; } || exit 1
for rule; do allowed "$rule" || exit 1; done
grep -qx 'IPV6=yes' /etc/default/ufw && six=ip6tables || six=
for tables in iptables $six; do
  chain=$($tables -S DOCKER-USER) || exit 1
  ! echo '${RULES}' | grep '^-A' | grep -vxFe "$chain" || exit 1
done`;

const OPEN = `set -e
${SSH_RULES}
${ALLOWED}
for rule; do allowed "$rule" || ufw allow "$rule"; done`;

/** sshd answers at each port by which it is reached, and the kernel's rules let these in. */
const PROOF = `${SSHD}
for port in $(sshd_ports); do
  iptables -S ufw-user-input | grep -Eq -- "-p tcp .*--dport $port .*-j (ACCEPT|ufw-user-limit-accept)" && continue
  echo "ufw does not let in port $port of sshd" >&2
  exit 1
done
${GREETS}`;

/** Whatever ufw was before, active or not. */
const ufwGuard: Guard = {
  name: 'firewall',
  files: [
    ...['user', 'user6', 'after', 'after6'].map((name) => `/etc/ufw/${name}.rules`),
    '/etc/ufw/ufw.conf',
    '/etc/default/ufw',
  ],
  heed: `if grep -qx 'ENABLED=yes' /etc/ufw/ufw.conf; then ufw --force enable; ufw reload; else ufw --force disable; fi`,
  proof: { ...shell(PROOF), about: 'check that sshd answers, and that ufw lets it in' },
};

function fail2ban(system: System): Item[] {
  return [
    installed(system, 'fail2ban', ['fail2ban', 'python3-systemd']),
    file({
      title: 'fail2ban watches sshd',
      path: '/etc/fail2ban/jail.d/opsbook.local',
      content: JAIL,
      after: [
        root`systemctl restart fail2ban`,
        { ...shell(SPARE), about: 'fail2ban-client set sshd addignoreip, the address of this login' },
      ],
    }),
    running('fail2ban runs, also after a boot', 'fail2ban', 'fail2ban-client status sshd'),
  ];
}

/** Reads the journal, since not every image writes /var/log/auth.log; bans by ufw. */
const JAIL = `# Written by opsbook: the next set-up undoes what is changed here.
[sshd]
enabled = true
backend = systemd
banaction = ufw
`;

/**
 * fail2ban begins with the failures of the last minutes, and would ban whoever tried several keys before one fitted.
 * It ignores the address of this login until it is started again; a ban that it decided on before comes within a second
 * or two, and is lifted.
 */
const SPARE = `${SSHD}
address=$(ssh_connection | cut -d ' ' -f 1)
[ -n "$address" ] || exit 0
for _ in $(seq 60); do
  if fail2ban-client set sshd addignoreip "$address"; then
    for _ in 1 2 3 4 5; do sleep 1; fail2ban-client set sshd unbanip "$address"; done
    exit 0
  fi
  sleep 0.5
done
echo 'fail2ban does not answer' >&2
exit 1`;

const PERIODIC = `APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
`;

const unattendedUpgrades = (system: System): Item[] => [
  installed(system, 'unattended-upgrades', ['unattended-upgrades']),
  file({
    title: 'security updates are installed every day',
    path: '/etc/apt/apt.conf.d/20auto-upgrades',
    content: PERIODIC,
  }),
];
