import { compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Context } from '../script.ts';
import { bucketSource } from './files/bucket-source.ts';
import { directorySource } from './files/directory.ts';
import type { BucketAccess } from './files/s3-bucket.ts';
import type { Source } from './part.ts';
import { postgresSource } from './postgres/source.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { sqliteSource } from './sqlite/source.ts';

type SourcesSettings = SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined };
type Where = Pick<Context, 'host' | 'signal'>;

/** Everything that the settings name, databases first: a file without its row is harmless, a row without its file not. */
export function sourcesOf(settings: SourcesSettings, where: Where): Source[] {
  const { host } = where;
  const app = compose(host, settings.APP_DIR, settings);
  const databases = (settings.BACKUP_DATABASES ?? []).map((address) =>
    address.via === 'sqlite' ? sqliteSource(address) : postgresSource(address, app),
  );
  const directories = (settings.BACKUP_DIRECTORIES ?? []).map((address) =>
    directorySource(address, settings.APP_DIR),
  );
  const buckets = (settings.BACKUP_BUCKETS ?? []).map((address) =>
    bucketSource(address, bucketAccess(settings, where)),
  );
  return [...databases, ...directories, ...buckets];
}

/** What reaching the buckets of the settings takes. */
export function bucketAccess(settings: SourcesSettings, { host, signal }: Where): BucketAccess {
  const { BUCKET_ACCESS_KEY_ID: accessKeyId, BUCKET_SECRET_ACCESS_KEY: secretAccessKey } = settings;
  if (!accessKeyId !== !secretAccessKey)
    throw new Failure(
      'BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY go together; one of them is not set',
      {
        exit: EXIT.usage,
        next: 'set both, or neither to use the keys of AWS',
      },
    );
  return {
    host,
    signal,
    compose: compose(host, settings.APP_DIR, settings),
    region: settings.AWS_REGION,
    credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined,
  };
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
