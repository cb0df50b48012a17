import { type Act, shell } from '../item.ts';

/** A download for each architecture, as `uname -m` says it, and its SHA-256. */
export interface Pinned {
  x86_64: { url: string; sha256: string };
  aarch64: { url: string; sha256: string };
}

/** Fetches into $t/it what was pinned, or nothing: a release may be replaced, a download cut. */
const FETCH = `set -eu
case $(uname -m) in
  x86_64) url=$1 sum=$2 ;;
  aarch64) url=$3 sum=$4 ;;
  *) echo "no binary for $(uname -m)" >&2; exit 1 ;;
esac
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
curl -fsSL --retry 3 -o "$t/it" "$url"
got=$(sha256sum < "$t/it" | cut -d ' ' -f 1)
[ "$got" = "$sum" ] || { echo "$url is not what was pinned: its SHA-256 is $got, not $sum" >&2; exit 1; }`;

const words = ({ x86_64, aarch64 }: Pinned) => [x86_64.url, x86_64.sha256, aarch64.url, aarch64.sha256];

/** A program, put where it belongs once it was checked. */
export const program = (pinned: Pinned, path: string): Act =>
  shell(`${FETCH}\ninstall -D -m 755 "$t/it" "$5.new"\nmv -f "$5.new" "$5"`, ...words(pinned), path);

/** An archive, unpacked into a directory that is there whole or not at all. */
export const archive = (pinned: Pinned, path: string): Act =>
  shell(
    `${FETCH}
rm -rf "$5.new" "$5"
mkdir -p "$5.new"
tar -xJf "$t/it" -C "$5.new" --strip-components=1 --no-same-owner
mv "$5.new" "$5"`,
    ...words(pinned),
    path,
  );
