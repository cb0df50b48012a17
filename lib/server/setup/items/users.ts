import { file } from '../file.ts';
import { type Item, rooted, shell } from '../item.ts';

/** The user that owns the app and may use Docker; membership counts from the next login on. */
export const appUser = (user: string): Item[] => [
  {
    title: `user ${user}`,
    so: rooted('id', user),
    make: [rooted('useradd', '--create-home', '--shell', '/bin/bash', user)],
  },
  {
    title: `${user} in group docker`,
    so: shell('id -nG "$1" | tr " " "\\n" | grep -qx docker', user),
    make: [rooted('usermod', '--append', '--groups', 'docker', user)],
  },
];

const COPY_KEYS = `set -eu
home=$(getent passwd "$1" | cut -d : -f 6)
from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
install -d -m 700 -o "$1" -g "$1" "$home/.ssh"
touch "$home/.ssh/authorized_keys"
grep -vxFf "$home/.ssh/authorized_keys" "$from" >> "$home/.ssh/authorized_keys" || :
chown "$1:$1" "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"`;

/** Each key of $2 is one of $1. An empty line of a pattern file would fit everything, so that keys alone count. */
const HAS_KEYS = `from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
own=$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys
[ -s "$own" ] && [ "$(stat -c '%a %U' "$own")" = "600 $1" ] && ! grep -v '^#' "$from" | grep -v '^$' | grep -vxFf "$own"`;

/** The login for people and CI that is not root: by key, with sudo that asks for no password. */
export function sudoUser(user: string, login: string): Item[] {
  const items: Item[] = [
    {
      ...file({
        title: `${user} may use sudo without a password`,
        path: `/etc/sudoers.d/opsbook-${user.replaceAll('.', '-')}`,
        content: `${user} ALL=(ALL) NOPASSWD: ALL\n`,
        ...{ mode: '440', owner: 'root:root' },
      }),
    },
  ];
  if (login === user) return items;
  return [
    ...items,
    {
      title: `the SSH keys of ${login} are ${user}'s too`,
      so: shell(HAS_KEYS, user, login),
      only: {
        when: shell('[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]', login),
        otherwise: `${login} has no ~/.ssh/authorized_keys to copy; give ${user} one`,
      },
      make: [shell(COPY_KEYS, user, login)],
    },
  ];
}
