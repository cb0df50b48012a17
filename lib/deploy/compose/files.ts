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

/** The files by which deployments of an app remember, in its state folder on its host. */
export function stateFiles(host: Host, appDir: string) {
  const path = (name: StateFile) => `${appDir}/.opsbook/${name}`;
  return {
    path,
    /** Empty when it is not there. */
    read: (name: StateFile): Promise<string> => host.run({ argv: ['sh', '-c', READ, 'read', path(name)] }),
    async write(name: StateFile, text: string): Promise<void> {
      await stateFileOn(host, appDir, 'deployments.jsonl');
      await writeOpenHostFile(host, path(name), text);
    },
    async append(name: StateFile, line: string): Promise<void> {
      const file = await stateFileOn(host, appDir, name);
      await host.run({ argv: ['sh', '-c', 'cat >> "$1"', 'append', file] }, `${line}\n`);
    },
    async remove(...names: StateFile[]): Promise<void> {
      await host.run({ argv: ['rm', '-f', ...names.map(path)] });
    },
    move: (from: StateFile, to: StateFile): Command => ({ argv: ['mv', '-f', path(from), path(to)] }),
  };
}
