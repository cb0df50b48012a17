import { join } from 'node:path';
import { compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import { locate } from './files/address.ts';
import { bucketCopier, bucketRestorer } from './files/restore-bucket.ts';
import { type Copier, directoryCopier, directoryRestorer } from './files/restore-directory.ts';
import type { Manifest, PartRecord } from './manifest.ts';
import type { Recovery, Restorer } from './part.ts';
import { postgresRestorer } from './postgres/restorer.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { bucketAccess } from './sources.ts';
import { sqliteRestorer } from './sqlite/restorer.ts';

/**
 * Where parts come back: `live`, to be swapped in; `to`, one part under another name, to stay there; `drill`, to be
 * looked at and thrown away.
 */
export type Destination = { kind: 'live' } | { kind: 'to'; name: string } | { kind: 'drill' };

/** A restorer for each part, by the settings that name its source. @throws Failure for a part that none names */
export function restorersOf(
  parts: readonly PartRecord[],
  settings: SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined },
  recovery: Recovery,
  destination: Destination,
): Restorer[] {
  if (destination.kind === 'to' && parts.length !== 1) {
    throw new Failure(`--to takes one part, these are ${parts.map((p) => p.name).join(', ')}`, {
      exit: EXIT.usage,
      next: 'name one by --only',
    });
  }
  return parts.map((part) => restorerOf(part, settings, recovery, destination));
}

function restorerOf(
  part: PartRecord,
  settings: SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined },
  recovery: Recovery,
  destination: Destination,
): Restorer {
  const ours = destination.kind !== 'to';
  const beside = (usual: string) => (destination.kind === 'to' ? destination.name : usual);
  const { id, stateDir } = recovery;
  switch (part.kind) {
    case 'postgres': {
      const address = settings.BACKUP_DATABASES?.find((a) => a.via !== 'sqlite' && a.database === part.name);
      if (!address || address.via === 'sqlite') throw unnamed(part, 'BACKUP_DATABASES');
      const app = compose(recovery.host, settings.APP_DIR, settings);
      const word = destination.kind === 'drill' ? 'drill' : 'restore';
      return postgresRestorer(
        part,
        { address, compose: app, beside: beside(`${part.name}_${word}_${id}`), for: destination.kind },
        recovery,
      );
    }
    case 'sqlite': {
      const address = settings.BACKUP_DATABASES?.find((a) => a.via === 'sqlite' && a.name === part.name);
      if (address?.via !== 'sqlite') throw unnamed(part, 'BACKUP_DATABASES');
      const usual =
        destination.kind === 'drill' ? join(stateDir, `drill-${id}.db`) : `${address.file}.restore-${id}`;
      return sqliteRestorer(part, { live: address.file, beside: beside(usual), ours }, recovery);
    }
    case 'directory': {
      const address = settings.BACKUP_DIRECTORIES?.find((a) => a.name === part.name);
      if (!address) throw unnamed(part, 'BACKUP_DIRECTORIES');
      if (destination.kind === 'live')
        return directoryRestorer(part, locate(address, settings.APP_DIR), recovery);
      return copying(directoryCopier(part, beside(join(stateDir, `drill-${id}-${part.name}`)), recovery));
    }
    case 'bucket': {
      const address = settings.BACKUP_BUCKETS?.find((a) => a.name === part.name);
      if (!address) throw unnamed(part, 'BACKUP_BUCKETS');
      const access = bucketAccess(settings, recovery);
      if (destination.kind === 'live') return bucketRestorer(part, address, access, recovery);
      return copying(bucketCopier(part, beside(`${part.name}-drill-${id}`), address, access, recovery));
    }
  }
}

/** A part that stays where it is brought: nothing of it can be swapped in. */
const copying = ({ part, plan, prepare, restore }: Copier): Restorer => ({
  part,
  plan,
  prepare,
  restoreBeside: async (step) => ({
    ...(await restore(step)),
    swapIn: async () => '',
    swapBack: async () => {},
  }),
});

const unnamed = ({ kind, name }: PartRecord, setting: string) =>
  new Failure(`the backup has the ${kind} ${name}, which ${setting} does not name`, {
    exit: EXIT.usage,
    next: `add it to ${setting}, or leave it out by --only`,
  });

/** The parts of a backup that `only` names, by name or by kind. @throws Failure on a name that is none */
export function selectParts(manifest: Manifest, only: readonly string[] | undefined): PartRecord[] {
  return select(manifest.parts, only, `backup ${manifest.id}`);
}
