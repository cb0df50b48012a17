import { compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Host } from '../host.ts';
import type { Source } from './part.ts';
import { postgresSource } from './postgres/source.ts';
import type { SourceSettings } from './settings.ts';
import { sqliteSource } from './sqlite/source.ts';

/** Everything that the settings name, databases first: a file without its row is harmless, a row without its file not. */
export function sourcesOf(settings: SourceSettings & { APP_DIR: string }, host: Host): Source[] {
  const app = compose(host, settings.APP_DIR, settings);
  const databases = (settings.BACKUP_DATABASES ?? []).map((address) =>
    address.via === 'sqlite' ? sqliteSource(address) : postgresSource(address, app),
  );
  return databases;
}

/** The sources that `only` names by part or by kind; all without it. @throws Failure on a name that is none */
export function selectSources(sources: readonly Source[], only: readonly string[] | undefined): Source[] {
  if (sources.length === 0) {
    throw new Failure(
      'nothing to back up: BACKUP_DATABASES, BACKUP_DIRECTORIES and BACKUP_BUCKETS are not set',
      {
        exit: EXIT.usage,
        next: 'set at least one of them (docs/settings.md)',
      },
    );
  }
  if (!only) return [...sources];
  const kinds: Record<string, string[]> = {
    databases: ['postgres', 'sqlite'],
    directories: ['directory'],
    buckets: ['bucket'],
    files: ['directory', 'bucket'],
  };
  const chosen = (name: string) => sources.filter((s) => s.name === name || kinds[name]?.includes(s.kind));
  const unknown = only.filter((name) => chosen(name).length === 0);
  if (unknown.length > 0) {
    throw new Failure(`--only ${unknown.join(' ')}: no such part`, {
      exit: EXIT.usage,
      next: `one of databases, directories, buckets, files, ${sources.map((s) => s.name).join(', ')}`,
    });
  }
  return sources.filter((source) => only.some((name) => chosen(name).includes(source)));
}
