import type { Command } from '../../command.ts';
import type { Host } from '../../host.ts';
import { writeOpenHostFile } from '../../host-files.ts';
import { asOwner, ENTER, stateFileOn } from '../../state.ts';

/** Files of the state folder; `next.yml` becomes `deployed.yml` when its containers are trusted. */
export type StateFile =
  | 'deployed.yml'
  | 'deployed.env'
  | 'next.yml'
  | 'build.yml'
  | 'deploying.json'
  | 'deployments.jsonl';

/** Those that are read, a line each; before the first deployment there is no folder either. */
const REMEMBERED = ['deployed.yml', 'deployed.env', 'deploying.json', 'deployments.jsonl'] as const;
const READ = `${ENTER}
[ ! -d "$1" ] || enter "$1"
shift
for file in "$@"; do
  [ ! -L "$file" ] || fail "$file is a symbolic link: not read"
  if [ -e "$file" ]; then text=$(base64 < "$file") || exit; printf %s "$text" | tr -d '\\n'; fi
  echo
done`;

/** A line that a full disk had cut off before does not swallow the next. */
const APPEND = '[ -z "$(tail -c 1 "$1")" ] || echo >> "$1"; cat >> "$1"';

/**
 * The files by which deployments of an app remember, in its state folder on its host. They are read at once, and once:
 * the lock of the deployment keeps others from changing them, and over SSM every command takes a second.
 */
export function stateFiles(host: Host, appDir: string) {
  const own = `${appDir}/.opsbook`;
  const path = (name: StateFile) => `${own}/${name}`;
  const move = (from: StateFile, to: StateFile): Command => ({ argv: ['mv', '-f', path(from), path(to)] });
  const known = new Map<StateFile, string>();
  const load = async (names: readonly StateFile[]): Promise<void> => {
    const text = await host.run({ argv: ['sh', '-c', READ, 'read', own, ...names] });
    const lines = text.split('\n');
    for (const [i, name] of names.entries())
      known.set(name, Buffer.from(lines[i] ?? '', 'base64').toString('utf8'));
  };
  let folder: Promise<string> | undefined;

  /** The folder and the file that lines are added to. */
  const made = (): Promise<string> => {
    folder ??= stateFileOn(host, appDir, 'deployments.jsonl');
    return folder;
  };
  /** Does what changes files; what became of them is only known when it worked. */
  async function changing(names: readonly StateFile[], act: () => Promise<unknown>): Promise<void> {
    for (const name of names) known.delete(name);
    await act();
  }
  return {
    path,
    move,
    /** Empty when it is not there. */
    async read(name: (typeof REMEMBERED)[number]): Promise<string> {
      const unknown = REMEMBERED.filter((one) => !known.has(one));
      if (!known.has(name)) await load(unknown);
      return known.get(name) ?? '';
    },
    async write(name: StateFile, text: string): Promise<void> {
      await made();
      await changing([name], () => writeOpenHostFile(host, path(name), text));
      known.set(name, text);
    },
    async append(name: 'deployments.jsonl', line: string): Promise<void> {
      await made();
      const append: Command = { argv: asOwner(own, 'sh', '-c', APPEND, 'append', name) };
      await changing([name], () => host.run(append, `${line}\n`));
    },
    async remove(...names: StateFile[]): Promise<void> {
      await changing(names, () => host.run({ argv: ['rm', '-f', ...names.map(path)] }));
    },
    async become(from: StateFile, to: StateFile): Promise<void> {
      await changing([from, to], () => host.run(move(from, to)));
    },
  };
}
