import { type Item, rooted, shell } from '../item.ts';
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
mv -f "$new" "$1"
! ufw status | grep -q '^Status: active' || ufw reload`;

const rulesIn = (path: string): Item => ({
  title: `${path}: Docker's published ports, too`,
  so: shell(HAS, path, BEGIN, END, BLOCK),
  there: rooted('grep', '-qxF', BEGIN, path),
  make: [shell(WRITE, path, BEGIN, END, BLOCK)],
});

/** ufw's own file says what was allowed in the order of ufw; \`limit\` lets in as well. */
const STANDS = `ufw status verbose | { read -r line; [ "$line" = 'Status: active' ] && grep -q '^Default: deny (incoming)'; } || exit 1
for rule; do
  grep -Eq "^### tuple ### (allow|limit) \${rule#*/} \${rule%/*} 0.0.0.0/0 any 0.0.0.0/0 in" /etc/ufw/user.rules || exit 1
done
iptables -S DOCKER-USER | grep -qx -- '-A DOCKER-USER -j DROP'`;

/**
 * ufw with these ports of sshd, 80 and 443 open. That of sshd comes first, so that whatever breaks off, the way in
 * stays.
 */
export function firewall(system: System, sshPorts: readonly number[]): Item[] {
  const ssh = sshPorts.length > 0 ? sshPorts : [22];
  const open = [...ssh.map((port) => `${port}/tcp`), '80/tcp', '443/tcp', '443/udp'];
  return [
    installed(system, 'ufw', ['ufw']),
    rulesIn('/etc/ufw/after.rules'),
    rulesIn('/etc/ufw/after6.rules'),
    {
      title: `ufw lets in ${open.join(', ')}, and nothing else`,
      so: shell(STANDS, ...open),
      there: shell(`ufw status | grep -q '^Status: active'`),
      make: [
        ...open.map((rule) => rooted('ufw', 'allow', rule)),
        rooted('ufw', 'default', 'deny', 'incoming'),
        rooted('ufw', '--force', 'enable'),
        rooted('ufw', 'reload'),
      ],
    },
  ];
}
