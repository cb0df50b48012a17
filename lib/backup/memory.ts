import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytes } from '../format.ts';
import type { Manifest, PartRecord } from './manifest.ts';

/** The manifest that this host wrote last: it may not be able to read it back from the store. */
const file = (stateDir: string) => join(stateDir, 'last-manifest.json');

export function rememberManifest(stateDir: string, manifest: Manifest): void {
  const partial = `${file(stateDir)}.partial`;
  writeFileSync(partial, JSON.stringify(manifest), { mode: 0o600 });
  renameSync(partial, file(stateDir));
}

/** Warnings for each part that is less than half of what it was in the backup before. */
export function shrunk(stateDir: string, now: Manifest): string[] {
  let before: Manifest;
  try {
    before = JSON.parse(readFileSync(file(stateDir), 'utf8'));
  } catch {
    return [];
  }
  return now.parts.flatMap((part) => {
    const last = before.parts.find((p) => p.kind === part.kind && p.name === part.name);
    if (!last || weight(part) * 2 >= weight(last)) return [];
    return [
      `${part.kind} ${part.name} shrank by more than half: ${bytes(weight(last))} in ${before.id}, ` +
        `${bytes(weight(part))} now. If that was not meant: npx tsx scripts/backup/restore.ts ${before.id}`,
    ];
  });
}

/** What says most of how much is in a part: the dump's size, or that of all its files. */
function weight(part: PartRecord): number {
  return part.kind === 'postgres' || part.kind === 'sqlite' ? part.bytesOut : part.bytesIn;
}
