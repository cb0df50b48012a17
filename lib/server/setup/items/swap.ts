import { type Item, shell } from '../item.ts';

const FILE = '/swapfile';

/** Memory enough, or swap that is there after a boot too where it is ours. */
const SO = `[ "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)" -ge 2097152 ] && exit 0
[ "$(wc -l < /proc/swaps)" -gt 1 ] && { ! grep -q "^$1 " /proc/swaps || grep -q "^$1 " /etc/fstab; }`;

/** Filled and not just allocated: not every file system swaps onto holes. */
const MAKE = `set -eu
if ! grep -q "^$1 " /proc/swaps; then
  rm -f "$1"
  gib=$(awk '/^MemTotal:/ { print int(($2 + 1048575) / 1048576) }' /proc/meminfo)
  (umask 077; dd if=/dev/zero of="$1" bs=1M count=$((gib * 1024)) status=none)
  mkswap "$1" >/dev/null
  swapon "$1"
fi
grep -q "^$1 " /etc/fstab || echo "$1 none swap sw 0 0" >> /etc/fstab`;

/** On less than 2 GiB without swap a build takes the memory from the database, which is killed. */
export const swap: Item = {
  title: `swap as large as the memory (${FILE}), where that is under 2 GiB`,
  so: shell(SO, FILE),
  there: shell('grep -q "^$1 " /proc/swaps', FILE),
  make: [shell(MAKE, FILE)],
};
