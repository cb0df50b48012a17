import { compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Host } from '../host.ts';
import { directorySource } from './files/directory.ts';
import type { Source } from './part.ts';
import { postgresSource } from './postgres/source.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { sqliteSource } from './sqlite/source.ts';

/** Everything that the settings name, databases first: a file without its row is harmless, a row without its file not. */
export function sourcesOf(settings: SourceSettings & { APP_DIR: string }, host: Host): Source[] {
  const app = compose(host, settings.APP_DIR, settings);
  const databases = (settings.BACKUP_DATABASES ?? []).map((address) =>
    address.via === 'sqlite' ? sqliteSource(address) : postgresSource(address, app),
  );
  const directories = (settings.BACKUP_DIRECTORIES ?? []).map((address) =>
    directorySource(address, settings.APP_DIR),
  );
  return [...databases, ...directories];
}

/** The sources that `only` names. @throws Failure when the settings name nothing at all, or `only` something else */
export function selectSources(sources: readonly Source[], only: readonly string[] | undefined): Source[] {
  if (sources.length > 0) return select(sources, only, 'the settings');
  throw new Failure(
    'nothing to back up: BACKUP_DATABASES, BACKUP_DIRECTORIES and BACKUP_BUCKETS are not set',
    {
      exit: EXIT.usage,
      next: 'set at least one of them (docs/settings.md)',
    },
  );
}
