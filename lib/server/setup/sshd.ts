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

/** Succeeds when sshd answers on this machine wherever it listens; of one that listens nowhere nothing is seen. */
export const GREETS = `sshd_here | while read -r address port; do
  timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && read -r -n 4 word <&3 && [ "$word" = SSH- ]' bash "$address" "$port" 2>/dev/null && continue
  echo "sshd does not answer at port $port of $address" >&2
  exit 1
done`;
