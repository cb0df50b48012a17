import { GREETS, SSHD, type System } from './setup-facts.ts';
import { file, type Guard, type Item, rooted, settled, shell } from './setup-item.ts';
import { installed, running } from './setup-packages.ts';

const ROOTS = { mode: '644', owner: 'root:root' } as const;

/** The journal is read, since not every image writes /var/log/auth.log; who is banned is banned by ufw. */
const JAIL = `# Written by opsbook: the next set-up undoes what is changed here.
[sshd]
enabled = true
backend = systemd
banaction = ufw
`;

/**
 * It begins with the failures of the last minutes: whoever tried several keys before one fitted would be banned while
 * working. Until it is started again it lets the address of this login be; a ban that it had decided on before comes
 * within a second or two, and is lifted.
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

export function fail2ban(system: System): Item[] {
  const path = '/etc/fail2ban/jail.d/opsbook.local';
  const jail = file({ title: 'fail2ban watches sshd', path, content: JAIL, ...ROOTS });
  return [
    installed(system, 'fail2ban', ['fail2ban', 'python3-systemd']),
    {
      ...jail,
      make: [
        ...jail.make,
        rooted('systemctl', 'restart', 'fail2ban'),
        { ...shell(SPARE), about: 'fail2ban-client set sshd addignoreip, the address of this login' },
      ],
    },
    running('fail2ban runs, also after a boot', 'fail2ban', 'fail2ban-client status sshd'),
  ];
}

const PERIODIC = `APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
`;

export function unattendedUpgrades(system: System): Item[] {
  const path = '/etc/apt/apt.conf.d/20auto-upgrades';
  return [
    installed(system, 'unattended-upgrades', ['unattended-upgrades']),
    file({ title: 'security updates come by themselves, every day', path, content: PERIODIC, ...ROOTS }),
  ];
}

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

/** Before the images' own drop-ins, such as 50-cloud-init.conf: of two lines sshd heeds the first. */
const DROP_IN = '/etc/ssh/sshd_config.d/00-opsbook.conf';

/**
 * What belongs into $1: of two lines the first counts, so that one of ours stands only where it is the stricter one.
 * `Match` blocks are left to those who wrote them.
 */
const WANTED = `${SSHD}
wanted() {
  hidden=$1
  without=$(sshd_says) || return 1
  hidden=
  echo '# Written by opsbook: the next set-up undoes what is changed here.'
  echo 'PasswordAuthentication no'
  echo 'KbdInteractiveAuthentication no'
  ! echo "$without" | grep -qx 'permitrootlogin yes' || echo 'PermitRootLogin prohibit-password'
}`;

/** What the files say, and what the sshd that runs offers: to one who has no key, and whom no `Match` excepts. */
const SSHD_STANDS = `${WANTED}
says=$(sshd_says) || exit 1
for line in 'passwordauthentication no' 'kbdinteractiveauthentication no'; do
  echo "$says" | grep -qx "$line" || exit 1
done
! echo "$says" | grep -qx 'permitrootlogin yes' || exit 1
[ ! -e "$1" ] || [ "$(cat "$1")" = "$(wanted "$1")" ] || exit 1
! sshd_says -C user=nobody,host=localhost,addr=127.0.0.1 | grep -qE '^(password|kbdinteractive)authentication yes' || exit 0
sshd_here | head -1 | while read -r address port; do
  offers=$(ssh -F none -p "$port" -l nobody -o BatchMode=yes -o PreferredAuthentications=none -o ConnectTimeout=10 \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$address" true 2>&1)
  case $offers in *password* | *keyboard*) exit 1 ;; *'Permission denied ('*) ;; *) exit 1 ;; esac
done`;

const SSHD_WRITE = `set -eu
${WANTED}
text=$(wanted "$1")
mkdir -p "$(dirname "$1")"
umask 022
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
printf '%s\\n' "$text" > "$new"
chmod 644 "$new"
mv -f "$new" "$1"
sshd_says >/dev/null`;

/** $user as sshd sees one who comes from where this login comes from. */
const USERS = `${SSHD}
set -f
from=$(ssh_connection | cut -d ' ' -f 1)
as_user() { sshd_says -C "user=$user,host=\${from:-localhost},addr=\${from:-127.0.0.1}" "$@"; }
said() { echo "$says" | sed -n "s/^$1 //p"; }
known() { says=$(as_user 2>/dev/null) && home=$(getent passwd "$user" | cut -d : -f 6) && [ -n "$home" ]; }`;

/** Whether the lists of sshd name $user: sshd itself compares them, by a file of the same patterns. */
const ADMITTED = `named() {
  for pattern in $(said "$1"); do
    case $2$pattern in User*@*) match="User \${pattern%@*} Address \${pattern##*@}" ;; *) match="$2 $pattern" ;; esac
    printf 'Match %s\\nBanner /named\\n' "$match" | as_user -f /dev/stdin 2>/dev/null | grep -qx 'banner /named' && return 0
  done
  return 1
}
admitted() {
  ! named denyusers User && ! named denygroups Group || return 1
  [ -z "$(said allowusers)" ] || named allowusers User || return 1
  [ -z "$(said allowgroups)" ] || named allowgroups Group || return 1
  case $(getent passwd "$user" | cut -d : -f 7) in */nologin | */false) return 1 ;; esac
  [ "$(said pubkeyauthentication)" = yes ] || return 1
  case " $(said authenticationmethods) " in *' any '* | *' publickey '*) ;; *) return 1 ;; esac
  [ "$user" != root ] || case $(said permitrootlogin) in yes | *-password) ;; *) return 1 ;; esac
}`;

/** Whether there is a key where sshd looks for it, in a file that sshd trusts. */
const HAS_KEY = `trusted() {
  [ "$(said strictmodes)" = yes ] || return 0
  at=$(realpath "$1") top=$(realpath "$home")
  while :; do
    case $(stat -c '%U %A' "$at") in "$user "?????-??-? | 'root '?????-??-?) ;; *) return 1 ;; esac
    [ "$at" != "$top" ] && [ "$at" != / ] || return 0
    at=$(dirname "$at")
  done
}
has_key() {
  for name in $(said authorizedkeysfile); do
    path=$(echo "$name" | sed "s|%h|$home|g; s|%u|$user|g")
    case $path in /*) ;; *) path=$home/$path ;; esac
    ssh-keygen -lf "$path" >/dev/null 2>&1 && trusted "$path" && return 0
  done
  return 1
}`;

const ANY_KEY = `${USERS}
${HAS_KEY}
for user; do known && has_key && exit 0; done
exit 1`;
const ANY_ADMITTED = `${USERS}
${HAS_KEY}
${ADMITTED}
for user; do known && has_key && admitted && exit 0; done
exit 1`;

/** A reload makes sshd listen where its files say; a socket of systemd's listens where it did. */
const STAYS = `${SSHD}
files=$(sshd_says | sed -n 's/^port //p; s/^listenaddress .*://p')
for at in $(ss -Htlnp | grep '"sshd"' | grep -v '"systemd"' | awk '{ print $4 }'); do
  echo "$files" | grep -qx "\${at##*:}" || exit 1
done`;

/** One who may log in to a shell, and by a password although sshd takes none from others. */
const EXCEPTION = `${USERS}
says=$(sshd_says)
[ "$(said passwordauthentication)" = no ] || exit 1
for user in $(getent passwd | awk -F : '$7 !~ /(nologin|false|sync)$/ { print $1 }'); do
  known && [ "$(said passwordauthentication)" = yes ] && exit 0
done
exit 1`;

/** What somebody wrote for certain users or addresses is their way in: it stays, and is told. */
const exceptions: Item = {
  title: 'no Match block of sshd lets somebody in by password',
  so: shell(`! { (${EXCEPTION}); }`),
  only: [
    {
      when: shell('false'),
      otherwise:
        'one does, and stays, since it may be the only way in: look for Match in /etc/ssh, and at sshd -T -C user=NAME',
    },
  ],
  make: [],
};

/** Of a socket of systemd's a reload makes sshd bind the port that systemd has, and end. Sessions survive both. */
const RELOAD = `if systemctl is-active --quiet ssh.socket; then systemctl try-restart ssh
else systemctl try-reload-or-restart ssh; fi`;

const sshdGuard: Guard = {
  name: 'sshd',
  files: [DROP_IN],
  heed: RELOAD,
  proof: { ...shell(`${SSHD}\n${GREETS}`), about: 'see that sshd answers' },
};

/** No login by password; never where nobody could log in any more. */
export function keysOnly(users: readonly string[]): Item[] {
  const stay = 'password logins stay, so that nobody is locked out';
  const keys: Item = {
    title: 'sshd takes keys, no passwords',
    so: shell(`${settled(sshdGuard)} || exit 1\n${SSHD_STANDS}`, DROP_IN),
    there: rooted('test', '-e', DROP_IN),
    only: [
      {
        when: shell(ANY_KEY, ...users),
        otherwise: `neither of ${users.join(', ')} has a key: ${stay}`,
      },
      {
        when: shell(ANY_ADMITTED, ...users),
        otherwise: `sshd lets in neither of ${users.join(', ')} by key alone (sshd -T: allowusers, denyusers, authenticationmethods, permitrootlogin …): ${stay}`,
      },
      {
        when: shell(STAYS),
        otherwise: `sshd listens on a port that its files do not name, and would leave it: reload it by hand, and see that you can log in; ${stay}`,
      },
    ],
    guard: sshdGuard,
    make: [
      {
        ...shell(SSHD_WRITE, DROP_IN),
        about: `write ${DROP_IN}: PasswordAuthentication no, KbdInteractiveAuthentication no, and PermitRootLogin prohibit-password where it is yes`,
      },
      { ...shell(RELOAD), about: 'make sshd read it' },
    ],
  };
  return [keys, exceptions];
}
