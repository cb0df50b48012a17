import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bytes } from '../format.ts';
import { folderIn, readKept, removeOthers, writeWhole } from '../keep.ts';
import { type Manifest, type PartRecord, readManifest } from './manifest.ts';

/** Manifests that this host wrote: it may not be able to read them back from the store. */
const file = (stateDir: string, id: string) => join(stateDir, 'manifests', `${id}.json`);

export function rememberManifest(stateDir: string, manifest: Manifest): void {
  folderIn(stateDir, 'manifests');
  writeWhole(file(stateDir, manifest.id), [JSON.stringify(manifest)]);
}

/** A manifest that this host wrote, if it still knows it. Of another app, or broken, it is as good as forgotten. */
export function recallManifest(stateDir: string, app: string, id: string): Manifest | undefined {
  try {
    return readManifest(readKept(file(stateDir, id))?.toString() ?? '', app, id);
  } catch {
    return undefined;
  }
}

/** Forgets the manifests of backups that are no more. */
export function forgetManifests(stateDir: string, kept: ReadonlySet<string>): void {
  removeOthers(join(stateDir, 'manifests'), (name) => kept.has(name.slice(0, -'.json'.length)));
}

function remembered(stateDir: string): string[] {
  const folder = join(stateDir, 'manifests');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => /^(.*)\.json$/.exec(name)?.[1] ?? [])
    .sort();
}

/** Warnings for each part that is less than half of what it was in the backup before. */
export function shrunk(stateDir: string, now: Manifest): string[] {
  const id = remembered(stateDir)
    .filter((known) => known < now.id)
    .at(-1);
  const before = id && recallManifest(stateDir, now.app, id);
  if (!before) return [];
  return now.parts.flatMap((part) => {
    const last = before.parts.find((p) => p.kind === part.kind && p.name === part.name);
    if (!last || weight(part) * 2 >= weight(last)) return [];
    return [
      `${part.kind} ${part.name} shrank by more than half: ${bytes(weight(last))} in ${before.id}, ` +
        `${bytes(weight(part))} now. If that was not meant: npx tsx scripts/backup/restore.ts ${before.id}`,
    ];
  });
}

/** What says most of how much is in a part: the dump's size, which a listing proves, or that of all its files. */
export function weight(part: PartRecord): number {
  return part.kind === 'postgres' || part.kind === 'sqlite' ? part.dump.bytes : part.bytesIn;
}
