import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { type Act, type Item, rooted, shell } from './item.ts';

export interface FileSpec {
  title: string;
  path: string;
  content: string;
  /** As stat prints it: `644`. */
  mode: string;
  /** `user:group` */
  owner: string;
}

const IS = `[ -f "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ] && echo "$3  $1" | sha256sum --check --status`;

/** Never half a file at its path; what it is renamed from is not seen by cron and sudo, which ignore names with dots. */
const PUT = `set -eu
mkdir -p "$2"
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "$4" "$new"
chmod "$3" "$new"
mv -f "$new" "$1"`;

/** A file with this content, mode and owner. */
export function file({ title, path, content, mode, owner }: FileSpec): Item {
  const sum = createHash('sha256').update(content).digest('hex');
  return {
    title,
    so: shell(IS, path, `${mode} ${owner}`, sum),
    there: rooted('test', '-e', path),
    make: [put({ path, content, mode, owner })],
  };
}

/** Puts a file where it belongs, whole. */
export const put = ({ path, content, mode, owner }: Omit<FileSpec, 'title'>): Act => ({
  ...shell(PUT, path, dirname(path), mode, owner),
  about: `write ${path} (${mode} ${owner}):`,
  input: content,
});

/** An empty file that is then written to by its owner: only its mode and owner are looked at. */
export const emptyFile = (title: string, path: string, mode: string, owner: string): Item => ({
  title,
  so: shell(`[ -f "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ]`, path, `${mode} ${owner}`),
  there: rooted('test', '-e', path),
  make: [shell(`set -eu; umask 077; : >> "$1"; chown "$3" "$1"; chmod "$2" "$1"`, path, mode, owner)],
});

/** A directory; what is in it stays as it is. */
export const directory = (title: string, path: string, mode: string, owner: string): Item => ({
  title,
  so: shell(`[ -d "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ]`, path, `${mode} ${owner}`),
  there: rooted('test', '-e', path),
  make: [rooted('mkdir', '-p', path), rooted('chown', owner, path), rooted('chmod', mode, path)],
});

/** A file that must not be there any more. */
export const noFile = (title: string, path: string): Item => ({
  title,
  so: shell('[ ! -e "$1" ]', path),
  there: rooted('test', '-e', path),
  make: [rooted('rm', '-f', path)],
});
