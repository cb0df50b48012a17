import { file } from '../file.ts';
import { type Item, rooted, shell } from '../item.ts';
import { SSHD } from '../sshd.ts';
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
