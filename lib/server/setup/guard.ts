import { type Act, type Guard, shell } from './item.ts';

/** Long enough for a slow machine; who has no other way in waits as long. */
const MINUTES = 5;

const unit = ({ name }: Guard) => `opsbook-undo-${name}`;
const place = (guard: Guard) => `/run/${unit(guard)}`;

/** A shell's test that no change is waiting for its login: the run that made it was killed. */
export const settled = (guard: Guard) => `[ ! -d ${place(guard)} ]`;

/** What a run that was killed has saved is the state that counts, and not what it left. */
const ARM = `set -eu
unit=$1 dir=/run/$1 undo=$2 after=$3
shift 3
systemctl stop "$unit.timer" 2>/dev/null || :
if [ ! -d "$dir" ]; then
  rm -rf "$dir.new"
  mkdir -m 700 "$dir.new"
  for path; do [ ! -e "$path" ] || cp -a --parents "$path" "$dir.new"; done
  printf '%s\\n' "$@" >"$dir.new/paths"
  printf '%s\\n' "$undo" >"$dir.new/undo"
  mv "$dir.new" "$dir"
fi
systemctl reset-failed "$unit.service" 2>/dev/null || :
systemd-run --quiet --collect --service-type=oneshot --unit="$unit" --on-active="$after" --timer-property=AccuracySec=1s sh "$dir/undo"`;

const undoing = (guard: Guard) => `set -eu
dir=${place(guard)}
while read -r path; do
  if [ -e "$dir$path" ]; then
    cp -a "$dir$path" "$path.opsbook"
    mv -f "$path.opsbook" "$path"
  else rm -f "$path"; fi
done <"$dir/paths"
${guard.heed}
rm -rf "$dir"`;

export const arm = (guard: Guard): Act => ({
  ...shell(ARM, unit(guard), undoing(guard), `${MINUTES}min`, ...guard.files),
  about: `start a timer (${unit(guard)}) that undoes this in ${MINUTES} minutes`,
});

const DISARM = `systemctl stop "$1.timer" && mv "/run/$1" "/run/$1.done" && rm -rf "/run/$1.done"`;
export const disarm = (guard: Guard): Act => ({
  ...shell(
    `{ ${DISARM}; } 2>/dev/null || { echo "it took so long that its timer has undone it" >&2; exit 1; }`,
    unit(guard),
  ),
  about: 'log in once more, over a new connection, and only then stop the timer',
});

/** By systemd, which goes on when the connection is lost. */
const UNDO = `[ ! -d "/run/$1" ] || systemctl start "$1.service"
systemctl stop "$1.timer" 2>/dev/null
[ ! -d "/run/$1" ]`;
export const undo = (guard: Guard): Act => shell(UNDO, unit(guard));

/** What is told when the timer has to do it. */
export const later = `a timer on the host undoes it within ${MINUTES} minutes`;
