import type { Command } from '../../command.ts';
import type { Host } from '../../host.ts';
import { writeOpenHostFile } from '../../host-files.ts';
import { stateFileOn } from '../../state.ts';

/** Files of the state folder; `next.yml` becomes `deployed.yml` when its containers are trusted. */
export type StateFile =
  | 'deployed.yml'
  | 'deployed.env'
  | 'next.yml'
  | 'build.yml'
  | 'deploying.json'
  | 'deployments.jsonl';

/** Before the first deployment there is no folder either. */
const READ = '[ ! -e "$1" ] || cat "$1"';

/**
 * The files by which deployments of an app remember, in its state folder on its host. Each is read once: the lock of
 * the deployment keeps others from changing them, and over SSM every command takes a second.
 */
export function stateFiles(host: Host, appDir: string) {
  const path = (name: StateFile) => `${appDir}/.opsbook/${name}`;
  const move = (from: StateFile, to: StateFile): Command => ({ argv: ['mv', '-f', path(from), path(to)] });
  const known = new Map<StateFile, string>();
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
    async read(name: StateFile): Promise<string> {
      const text = known.get(name) ?? (await host.run({ argv: ['sh', '-c', READ, 'read', path(name)] }));
      known.set(name, text);
      return text;
    },
    async write(name: StateFile, text: string): Promise<void> {
      await made();
      await changing([name], () => writeOpenHostFile(host, path(name), text));
      known.set(name, text);
    },
    async append(name: 'deployments.jsonl', line: string): Promise<void> {
      const file = await made();
      const append: Command = { argv: ['sh', '-c', 'cat >> "$1"', 'append', file] };
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
