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

/** The whole file anew: its last line may lack a line break, and what is appended would become part of that key. */
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
      there: shell('[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]', user),
      only: [
        {
          when: shell('[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]', login),
          otherwise: `${login} has no ~/.ssh/authorized_keys to copy; give ${user} one`,
        },
      ],
      make: [shell(COPY_KEYS, user, login)],
    },
  ];
}
