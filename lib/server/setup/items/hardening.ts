import { file, put } from '../file.ts';
import { type Item, shell } from '../item.ts';
import type { System } from '../system.ts';
import { installed, running } from './packages.ts';

const ROOTS = { mode: '644', owner: 'root:root' } as const;

/** The journal is read, since not every image writes /var/log/auth.log; who is banned is banned by ufw. */
const JAIL = `# Written by opsbook: the next set-up undoes what is changed here.
[sshd]
enabled = true
backend = systemd
banaction = ufw
`;

export function fail2ban(system: System): Item[] {
  const path = '/etc/fail2ban/jail.d/opsbook.local';
  const jail = file({ title: 'fail2ban watches sshd', path, content: JAIL, ...ROOTS });
  return [
    installed(system, 'fail2ban', ['fail2ban', 'python3-systemd']),
    { ...jail, make: [...jail.make, { argv: ['systemctl', 'restart', 'fail2ban'], root: true }] },
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

/** Before the images' own drop-ins, such as 50-cloud-init.conf: of two lines sshd heeds the first. */
const DROP_IN = '/etc/ssh/sshd_config.d/00-opsbook.conf';

const SSHD = `# Written by opsbook: the next set-up undoes what is changed here.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
`;

/** What sshd makes of all its files; it wants its directory, which is there only once it ran. */
const EFFECTIVE = `mkdir -p /run/sshd
sshd -T > /dev/null || exit 1
for line in 'passwordauthentication no' 'kbdinteractiveauthentication no' 'permitrootlogin without-password'; do
  sshd -T | grep -qx "$line" || exit 1
done`;

/** One of these users can log in by key, wherever sshd looks for it. */
const HAS_KEY = `mkdir -p /run/sshd
for user; do
  home=$(getent passwd "$user" | cut -d : -f 6) || continue
  for name in $(sshd -T -C "user=$user,host=localhost,addr=127.0.0.1" | sed -n 's/^authorizedkeysfile //p'); do
    path=$(echo "$name" | sed "s|%h|$home|g; s|%u|$user|g")
    case $path in /*) ;; *) path=$home/$path ;; esac
    ! grep -q '^[^#]' "$path" 2>/dev/null || exit 0
  done
done
exit 1`;

/** No login by password; never where nobody could log in any more. */
export function keysOnly(users: readonly string[]): Item {
  return {
    title: 'sshd takes keys, no passwords',
    so: shell(EFFECTIVE),
    only: {
      when: shell(HAS_KEY, ...users),
      otherwise: `neither of ${users.join(', ')} has a key: password logins stay, so that nobody is locked out`,
    },
    make: [
      put({ path: DROP_IN, content: SSHD, ...ROOTS }),
      shell('mkdir -p /run/sshd; sshd -t || { rm -f "$1"; exit 1; }', DROP_IN),
      { argv: ['systemctl', 'try-reload-or-restart', 'ssh'], root: true },
    ],
  };
}
