import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { Corrupted } from './stored.ts';

/** Of this version are the manifests that we write; readers refuse a newer one. */
const MANIFEST_VERSION = 1;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const natural = z.int().nonnegative();

/** An object in the store: its key below the app's folder, and what its stored bytes are. */
const stored = z.object({ key: z.string(), bytes: natural, sha256 });

/**
 * How many rows a table had in the dump's own snapshot. Older backups say `exact: true`, or `exact: false` of a number
 * that was the planner's estimate and proves nothing.
 */
const tableRows = z.object({ table: z.string(), rows: natural, exact: z.boolean().optional() });

const part = { name: z.string(), source: z.string(), bytesIn: natural, bytesOut: natural };

/** What may be granted on a database; the error names what else was found. */
const privilege = z.enum(['CONNECT', 'CREATE', 'TEMPORARY'], {
  error: ({ input }) => `${JSON.stringify(input)} is no privilege on a database`,
});
const access = z.object({ to: z.string().nullable(), privilege, grantable: z.boolean() });

const postgresPart = z.object({
  ...part,
  kind: z.literal('postgres'),
  dump: stored,
  /** Roles and settings (`postgres/globals.ts`); of older backups, roles as `pg_dumpall --globals-only` writes them. */
  globals: stored,
  database: z.string(),
  owner: z.string(),
  encoding: z.string(),
  collate: z.string(),
  ctype: z.string(),
  icuLocale: z.string().nullable(),
  /** Only of older backups: what `ALTER DATABASE … SET` said, as `name=value`. A setting may be a secret. */
  settings: z.array(z.string()).optional(),
  /** Only of older backups: what `ALTER ROLE … IN DATABASE … SET` said. */
  roleSettings: z.array(z.object({ role: z.string(), settings: z.array(z.string()) })).optional(),
  /** Who was granted what on the database itself (`to: null` is PUBLIC); null where nothing was ever said of it. */
  access: z.array(access).nullable().optional(),
  connectionLimit: z.int().optional(),
  serverVersion: z.string(),
  clientVersion: z.string(),
  /** `zstd`: a zstd frame around the dump, from servers before 16; `none`: pg_dump compressed it itself. */
  compression: z.enum(['none', 'zstd']),
  tables: z.array(tableRows),
});

const sqlitePart = z.object({ ...part, kind: z.literal('sqlite'), dump: stored, tables: z.array(tableRows) });

/** Files are stored once under their SHA-256; the tree lists them, and is itself stored so. */
const tree = {
  tree: stored,
  files: natural,
  directories: natural,
  symlinks: natural,
};
const directoryPart = z.object({ ...part, kind: z.literal('directory'), ...tree });
const bucketPart = z.object({ ...part, kind: z.literal('bucket'), ...tree });

const partRecord = z.discriminatedUnion('kind', [postgresPart, sqlitePart, directoryPart, bucketPart]);

const manifest = z.object({
  version: z.literal(MANIFEST_VERSION),
  app: z.string(),
  id: z.string(),
  started: z.iso.datetime(),
  finished: z.iso.datetime(),
  tool: z.string(),
  host: z.string(),
  /** The age recipient that the parts are encrypted to. */
  recipient: z.string().nullable(),
  /** Whether it has every part that the settings named. */
  complete: z.boolean(),
  parts: z.array(partRecord),
});

export type Stored = z.infer<typeof stored>;
export type Access = z.infer<typeof access>;
export type TableRows = z.infer<typeof tableRows>;
export type PostgresPart = z.infer<typeof postgresPart>;
export type SqlitePart = z.infer<typeof sqlitePart>;
export type DirectoryPart = z.infer<typeof directoryPart>;
export type BucketPart = z.infer<typeof bucketPart>;
export type PartRecord = z.infer<typeof partRecord>;
export type PartKind = PartRecord['kind'];
export type Manifest = z.infer<typeof manifest>;

export function writeManifest(values: Omit<Manifest, 'version'>): string {
  return `${JSON.stringify(manifest.parse({ version: MANIFEST_VERSION, ...values }), null, 2)}\n`;
}

/**
 * The manifest in `text`, found under `id` in the folder of `app`.
 * @throws Failure when it is no manifest, a newer version's, another backup's or another app's
 */
export function readManifest(text: string, app: string, id: string): Manifest {
  let json: { version?: unknown; app?: unknown };
  try {
    json = JSON.parse(text);
  } catch {
    throw new Corrupted(`backup ${id}: its manifest is not JSON (${text.length} characters)`);
  }
  if (typeof json?.version === 'number' && json.version > MANIFEST_VERSION) {
    throw new Failure(
      `backup ${id}: manifest version ${json.version}, this opsbook reads ${MANIFEST_VERSION}`,
      {
        next: 'update opsbook',
      },
    );
  }
  const { success, data, error } = manifest.safeParse(json);
  if (!success) {
    const issue = error.issues[0];
    throw new Corrupted(`backup ${id}: manifest ${issue?.path.join('/')}: ${issue?.message}`);
  }
  if (data.app !== app) {
    throw new Failure(`backup ${id} is of the app ${data.app}, not of ${app}`, {
      exit: EXIT.usage,
      next: `set APP=${data.app}, or pick another backup`,
    });
  }
  if (data.id !== id) throw new Corrupted(`backup ${id}: its manifest is of ${data.id}`);
  return data;
}
