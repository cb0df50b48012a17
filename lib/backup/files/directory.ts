import { EXIT, Failure, Problems } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Prepared, Source, Work } from '../part.ts';
import { type DirectoryAddress, locate } from './address.ts';
import { isCutOff, readExchange } from './exchange.ts';
import { type BytePath, below, fromText } from './paths.ts';
import { realPath } from './places.ts';
import { refusal, unreadable } from './refusals.ts';
import { saveDirectory } from './save-directory.ts';
import type { Saved } from './saving.ts';
import { isReadable, walk, walkOf } from './walk.ts';

/** A directory as a part of a backup: incremental, each content stored once under its SHA-256. */
export function directorySource(address: DirectoryAddress, appDir: string): Source {
  const directory = locate(address, appDir);
  const source: Source = {
    kind: 'directory',
    name: address.name,
    uri: directory,
    async prepare(work): Promise<Prepared> {
      const { files, size } = await survey(source, work);
      let saved: Saved | undefined;
      return {
        source,
        plan: [
          `read those of ${count(files, 'file')} (${bytes(size)}) below ${directory} that are new or changed`,
          `store each content that is not there yet at ${work.store.address('content/')}`,
        ],
        async save(step) {
          saved = await saveDirectory(source, work, step);
          return saved.record;
        },
        confirm: async () => saved?.confirm(),
        committed: async () => saved?.committed(),
      };
    },
  };
  return source;
}

/** Looks at everything that the backup will read. */
async function survey({ name, uri }: Source, work: Work): Promise<{ files: number; size: number }> {
  refuseHalfSwapped(name, work);
  const root = fromText(uri);
  const isRoot = process.getuid?.() === 0;
  const refused: BytePath[] = [];
  let [files, links, size] = [0, 0, 0];
  try {
    realPath(uri);
    await walk(root, { ...walkOf(work), onRefused: (path) => refused.push(path) }, (path, stats) => {
      if (stats.isSymbolicLink()) links += 1;
      if (!stats.isFile()) return;
      files += 1;
      size += stats.size;
      if (!isRoot && !isReadable(below(root, path))) refused.push(path);
    });
  } catch (error) {
    throw unreadable(name, uri, error);
  }
  const isEmpty = files + links + refused.length === 0;
  const problems: Failure[] = [];
  if (refused.length > 0) problems.push(refusal(name, refused));
  if (isEmpty && !work.allowEmpty) problems.push(empty(name, uri));
  if (`${work.store.uri}/`.startsWith(`file://${uri}/`))
    problems.push(storeInside(name, uri, work.store.uri));
  if (problems.length === 1) throw problems[0];
  if (problems.length > 1) throw new Problems(problems);
  return { files, size };
}

/** A swap that was cut off left some files in another directory: a backup of that would be a wrong one. */
function refuseHalfSwapped(name: string, { stateDir, appDir }: Work): void {
  const folder = stateDir ?? `${appDir}/.opsbook`;
  const exchange = isReadable(fromText(folder)) ? readExchange(folder, name) : undefined;
  if (!isCutOff(exchange)) return;
  throw new Failure(
    `${name}: the restore of ${exchange.id} was cut off while it moved files in ${exchange.live}`,
    {
      next: 'restore it again, or take it back: npx tsx scripts/backup/restore.ts --undo',
    },
  );
}

function empty(name: string, directory: string): Failure {
  return new Failure(
    `${name}: there is no file in ${directory}; a volume that is not mounted looks like this`,
    {
      next: 'mount it, or say --allow-empty if it is meant to be empty',
    },
  );
}

function storeInside(name: string, directory: string, store: string): Failure {
  return new Failure(
    `${name}: BACKUP_STORE ${store} lies in ${directory}: each backup would contain the last`,
    {
      exit: EXIT.usage,
      next: 'move the store out of the directory',
    },
  );
}
