import { type Guard, type Item, notPending, root, shell } from './converge.ts';

/** No login by password, unless that would lock everybody out. */
export function keysOnly(users: readonly string[]): Item[] {
  const stay = 'password logins stay, so that nobody is locked out';
  const keys: Item = {
    title: 'sshd takes keys, no passwords',
    so: shell(`${notPending(sshdGuard)} || exit 1\n${SSHD_STANDS}`, DROP_IN),
    there: root`test -e ${DROP_IN}`,
    only: [
      { when: shell(ANY_KEY, ...users), otherwise: `none of ${users.join(', ')} has a key: ${stay}` },
      {
        when: shell(ANY_ADMITTED, ...users),
        otherwise: `sshd lets none of ${users.join(', ')} in by key alone (sshd -T: allowusers, denyusers, authenticationmethods, permitrootlogin …): ${stay}`,
      },
      {
        when: shell(STAYS),
        otherwise: `sshd listens on a port that its files do not name, and would leave it: reload it by hand, and check that you can log in; ${stay}`,
      },
    ],
    guard: sshdGuard,
    make: [
      {
        ...shell(SSHD_WRITE, DROP_IN),
        about: `write ${DROP_IN}: PasswordAuthentication no, KbdInteractiveAuthentication no, and PermitRootLogin prohibit-password where it is yes`,
      },
      { ...shell(RELOAD), about: 'reload sshd' },
    ],
  };
  return [keys, exceptions];
}

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

/** Succeeds when sshd answers on this machine wherever it listens, also when it listens nowhere. */
export const GREETS = `sshd_here | while read -r address port; do
  timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && read -r -n 4 word <&3 && [ "$word" = SSH- ]' bash "$address" "$port" 2>/dev/null && continue
  echo "sshd does not answer at port $port of $address" >&2
  exit 1
done`;

/** Sorts before the images' own drop-ins, such as 50-cloud-init.conf: of two lines sshd uses the first. */
const DROP_IN = '/etc/ssh/sshd_config.d/00-opsbook.conf';

/**
 * What belongs into $1. Of two lines the first counts, so a line of ours is written only where it is the stricter one.
 * `Match` blocks stay as they are.
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

/** Checks the files, and what the running sshd offers to a user without a key whom no `Match` block excepts. */
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

/** What sshd says of $user, coming from the address of this login. */
const USERS = `${SSHD}
set -f
from=$(ssh_connection | cut -d ' ' -f 1)
as_user() { sshd_says -C "user=$user,host=\${from:-localhost},addr=\${from:-127.0.0.1}" "$@"; }
said() { echo "$says" | sed -n "s/^$1 //p"; }
known() { says=$(as_user 2>/dev/null) && home=$(getent passwd "$user" | cut -d : -f 6) && [ -n "$home" ]; }`;

/** Whether sshd's lists let $user in: sshd itself compares them, by a file of the same patterns. */
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

/** Whether $user has a key where sshd looks for it, in a file that sshd trusts. */
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

/** After a reload sshd listens where its files say; a socket of systemd's stays where it was. */
const STAYS = `${SSHD}
files=$(sshd_says | sed -n 's/^port //p; s/^listenaddress .*://p')
for at in $(ss -Htlnp | grep '"sshd"' | grep -v '"systemd"' | awk '{ print $4 }'); do
  echo "$files" | grep -qx "\${at##*:}" || exit 1
done`;

/** Succeeds when some user with a shell may log in by password although sshd takes none from others. */
const EXCEPTION = `${USERS}
says=$(sshd_says)
[ "$(said passwordauthentication)" = no ] || exit 1
for user in $(getent passwd | awk -F : '$7 !~ /(nologin|false|sync)$/ { print $1 }'); do
  known && [ "$(said passwordauthentication)" = yes ] && exit 0
done
exit 1`;

/** What somebody wrote for certain users or addresses may be their only way in: it stays, with a warning. */
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

/** With a socket of systemd's, a reload would make sshd bind the port that systemd has, and end. Sessions survive both. */
const RELOAD = `if systemctl is-active --quiet ssh.socket; then systemctl try-restart ssh
else systemctl try-reload-or-restart ssh; fi`;

const sshdGuard: Guard = {
  name: 'sshd',
  files: [DROP_IN],
  heed: RELOAD,
  proof: { ...shell(`${SSHD}\n${GREETS}`), about: 'check that sshd answers' },
};
