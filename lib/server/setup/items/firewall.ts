import { settled } from '../guard.ts';
import { type Guard, type Item, rooted, shell } from '../item.ts';
import { GREETS, SSHD } from '../sshd.ts';
import type { System } from '../system.ts';
import { installed } from './packages.ts';

const BEGIN = '# BEGIN opsbook: what Docker publishes obeys the firewall too';
const END = '# END opsbook';

/**
 * Docker's own rules let in whatever it publishes, before ufw's are asked (moby#4737); what it leaves to us is the
 * chain DOCKER-USER. ufw loads this with its own rules, at boot before Docker starts. The port is the one that was
 * asked for, before it was translated to a container's.
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
  there: rooted('grep', '-qxF', BEGIN, path),
  make: [shell(WRITE, path, BEGIN, END, BLOCK)],
});

/** Each port by which sshd is reached, and then those that are told. */
const SSH_RULES = `${SSHD}
set -- $(sshd_ports | sed 's|$|/tcp|') "$@"`;

/** ufw's own file says in ufw's order what was allowed; `limit` lets in as well, and is not made an `allow`. */
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

/** sshd greets at each port by which it is reached, and the rules that the kernel has let in there. */
const PROOF = `${SSHD}
for port in $(sshd_ports); do
  iptables -S ufw-user-input | grep -Eq -- "-p tcp .*--dport $port .*-j (ACCEPT|ufw-user-limit-accept)" && continue
  echo "ufw does not let in port $port of sshd" >&2
  exit 1
done
${GREETS}`;

/** Whatever ufw was before, active or not. */
const guard: Guard = {
  name: 'firewall',
  files: [
    ...['user', 'user6', 'after', 'after6'].map((name) => `/etc/ufw/${name}.rules`),
    '/etc/ufw/ufw.conf',
    '/etc/default/ufw',
  ],
  heed: `if grep -qx 'ENABLED=yes' /etc/ufw/ufw.conf; then ufw --force enable; ufw reload; else ufw --force disable; fi`,
  proof: { ...shell(PROOF), about: 'see that sshd answers, and is let in' },
};

/** ufw with these ports of sshd, and whichever it has by then, 80 and 443 open. */
export function firewall(system: System, sshPorts: readonly number[]): Item[] {
  const open = ['80/tcp', '443/tcp', '443/udp'];
  const ssh = sshPorts.map((port) => `${port}/tcp`);
  const title = [...(ssh.length > 0 ? ssh : ["sshd's ports"]), ...open].join(', ');
  return [
    installed(system, 'ufw', ['ufw']),
    rulesIn('/etc/ufw/after.rules'),
    rulesIn('/etc/ufw/after6.rules'),
    {
      title: `ufw lets in ${title}, and nothing else`,
      so: shell(`${settled(guard)} || exit 1\n${STANDS}`, ...ssh, ...open),
      there: shell(`ufw status | grep -q '^Status: active'`),
      guard,
      make: [
        { ...shell(OPEN, ...ssh, ...open), about: `ufw allow ${title}, and wherever else sshd listens` },
        rooted('ufw', 'default', 'deny', 'incoming'),
        rooted('ufw', '--force', 'enable'),
        rooted('ufw', 'reload'),
      ],
    },
  ];
}
