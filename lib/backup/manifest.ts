import { z } from 'zod';
import type { Command } from '../command.ts';
import { EXIT, Failure } from '../failure.ts';
import { count } from '../format.ts';
import type { Report, Step } from '../output.ts';
import type { Host } from '../shell.ts';
import { keyName } from './addresses.ts';
import { contentKey, suffixOf } from './blobs.ts';
import { type Decrypter, type Encrypter, RECIPIENT } from './encryption.ts';
import { dateOf } from './id.ts';
import { clean, fileName, firstProblem, natural, owner, quoted, sha256 } from './schema.ts';
import { Corrupted, type Store } from './store.ts';

/** Of this version are the manifests that we write; readers refuse a newer one. */
const MANIFEST_VERSION = 1;

/** An object in the store: its key below the app's folder, and what its stored bytes are. */
const stored = z.object({ key: z.string(), bytes: natural, sha256 });

/**
 * How many rows a table had in the dump's own snapshot. Older backups say `exact: true`, or `exact: false` of a number
 * that was the planner's estimate and proves nothing.
 */
const tableRows = z.object({ table: z.string(), rows: natural, exact: z.boolean().optional() });

const part = { name: clean, source: z.string(), bytesIn: natural, bytesOut: natural };
/** Of a part whose name becomes that of files beside the live ones. */
const filesPart = { ...part, name: fileName };

/** What may be granted on a database; the error names what else was found. */
const privilege = z.enum(['CONNECT', 'CREATE', 'TEMPORARY'], {
  error: ({ input }) => `${JSON.stringify(input)} is not a privilege on a database`,
});
const access = z.object({ to: z.string().nullable(), privilege, grantable: z.boolean() });

const postgresPart = z.object({
  ...part,
  kind: z.literal('postgres'),
  dump: stored,
  /** Roles and settings (`postgres-roles.ts`); of older backups, roles as `pg_dumpall --globals-only` writes them. */
  globals: stored,
  database: z.string().min(1, 'is empty'),
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

const sqlitePart = z.object({
  ...filesPart,
  kind: z.literal('sqlite'),
  dump: stored,
  tables: z.array(tableRows),
  /** Of the live file; not there in older manifests. */
  owner: z.object({ uid: owner, gid: owner, mode: natural.max(0o777) }).optional(),
});

/** Files are stored once under their SHA-256; the tree lists them, and is itself stored so. */
const tree = {
  tree: stored,
  files: natural,
  directories: natural,
  symlinks: natural,
};
const directoryPart = z.object({ ...filesPart, kind: z.literal('directory'), ...tree });
const bucketPart = z.object({ ...filesPart, kind: z.literal('bucket'), ...tree });

const partRecord = z.discriminatedUnion('kind', [postgresPart, sqlitePart, directoryPart, bucketPart]);

const manifest = z
  .object({
    version: z.literal(MANIFEST_VERSION),
    app: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'is not the name of an app'),
    id: z.string().refine((id) => dateOf(id) !== undefined, 'is not the id of a backup'),
    started: z.iso.datetime(),
    finished: z.iso.datetime(),
    tool: clean,
    host: clean,
    /** The age recipient that the parts are encrypted to. */
    recipient: z.string().regex(RECIPIENT, 'is not an age recipient').nullable(),
    /** Whether it has every part that the settings named. */
    complete: z.boolean(),
    parts: z.array(partRecord),
  })
  .superRefine((it, context) => {
    for (const [i, record] of it.parts.entries()) {
      for (const [field, value] of Object.entries(record)) {
        const { success, data } = stored.safeParse(value);
        const problem = success && strangeKey(data, field, record.name, it);
        if (problem) context.addIssue({ code: 'custom', path: ['parts', i, field, 'key'], message: problem });
      }
    }
  });

/**
 * A key that we would not have written: of another backup or app, of another content than the hash beside it says, or
 * not encrypted where the backup is.
 */
function strangeKey(
  { key, sha256 }: Stored,
  field: string,
  name: string,
  { id, recipient }: { id: string; recipient: string | null },
): string | undefined {
  const suffix = recipient === null ? '' : '.age';
  if (field === 'tree') {
    const expected = contentKey(sha256, suffixOf({ recipient, suffix }));
    return key === expected ? undefined : `is not ${expected}`;
  }
  const folder = `backups/${id}/`;
  const segments = key.slice(folder.length).split('/');
  if (!key.startsWith(folder) || segments.some((segment) => ['', '.', '..'].includes(segment)))
    return `is not below ${folder}`;
  // Before a slash in a database's name was encoded, it was one in the key.
  if (![keyName(name), name].some((own) => key.startsWith(`${folder}${own}.`))) return `is not of ${name}`;
  if (!clean.safeParse(key).success) return 'has control characters';
  if (key.endsWith('.age') !== (recipient !== null))
    return recipient === null ? 'is encrypted, and the backup has no recipient' : 'is not encrypted';
  return undefined;
}

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
 * @throws Failure when it is not a manifest, a newer version's, another backup's or another app's
 */
export function readManifest(text: string, app: string, id: string): Manifest {
  let json: { version?: unknown; id?: unknown } | null;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Corrupted(`backup ${id}: its manifest is not JSON (${text.length} characters)`);
  }
  if (typeof json?.version === 'number' && json.version > MANIFEST_VERSION) {
    throw new Failure(
      `backup ${id}: manifest version ${json.version}, this opsbook reads ${MANIFEST_VERSION}`,
      { next: 'update opsbook' },
    );
  }
  if (typeof json?.id === 'string' && json.id !== id) {
    const other = dateOf(json.id) ? json.id : quoted(json.id);
    throw new Corrupted(`backup ${id}: its manifest is of ${other}`);
  }
  const { success, data, error } = manifest.safeParse(json);
  if (!success)
    throw new Corrupted(`backup ${id}: manifest ${firstProblem(error, json)}${partIn(json, error)}`);
  if (data.app !== app) {
    throw new Failure(`backup ${id} is of the app ${data.app}, not of ${app}`, {
      exit: EXIT.usage,
      next: `set APP=${data.app}, or pick another backup`,
    });
  }
  return data;
}

/** The name of the part that a problem is in, where it has one. */
function partIn(json: unknown, { issues: [issue] }: z.ZodError): string {
  if (issue?.path[0] !== 'parts' || typeof issue.path[1] !== 'number') return '';
  const { name } = (json as { parts: Array<{ name?: unknown } | null> }).parts[issue.path[1]] ?? {};
  return name === undefined ? '' : `, in the part ${quoted(name)}`;
}

/** What a part has to work with. */
interface Job {
  /** The backup's id. */
  id: string;
  host: Host;
  store: Store;
  report: Report;
  signal: AbortSignal;
}

/** What a part has to work with while it is backed up. */
export interface Work extends Job {
  encrypter: Encrypter;
  appDir: string;
  /** This host's state, with what it has stored (`lib/state.ts`); undefined in a dry run. */
  stateDir: string | undefined;
  /** An empty directory or bucket is what the operator expects. */
  allowEmpty: boolean;
}

/** What a part has to work with while it is restored. */
export interface Recovery extends Job {
  decrypter: Decrypter;
  stateDir: string;
  /** Files that were setuid are to be so again. */
  allowSetuid?: boolean | undefined;
}

/** One database, one directory, one bucket: what the settings name. */
export interface Source {
  readonly kind: PartKind;
  /** Unique among the parts, and fit for a key. */
  readonly name: string;
  /** As the manifest and messages show it; without passwords. */
  readonly uri: string;
  /**
   * Checks that it can be backed up; changes nothing.
   * @throws Failure or Problems with all that would go wrong
   */
  prepare(work: Work): Promise<Prepared>;
}

/** A part that was found fit to be backed up. */
export interface Prepared {
  readonly source: Source;
  /** What a dry run prints: the very commands that {@link save} runs. */
  readonly plan: readonly (Command | string)[];
  save(step: Step): Promise<PartRecord>;
  /**
   * Right before the manifest is written.
   * @throws Failure when something that was stored, or was there already, is gone: a prune elsewhere
   */
  confirm?(): Promise<void>;
  /** After the manifest was written: writes the state by which the next backup knows this one. */
  committed?(): Promise<void>;
}

/** A part of a backup, and how it comes back. Nothing live is touched before {@link Restored.swapIn}. */
export interface Restorer {
  readonly part: PartRecord;
  /** Checks that it can be restored: service, disk space, names that are taken. @throws Failure or Problems */
  prepare(): Promise<void>;
  /** What a dry run prints. */
  readonly plan: readonly (Command | string)[];
  /** Restores it beside the live one. What a failed or killed run left there is cleared first. */
  restoreBeside(step: Step): Promise<Restored>;
}

/** A part that was restored beside the live one. */
export interface Restored {
  /** Where it is now, for messages. */
  readonly place: string;
  /** What differs from the manifest, a line each; empty when it is what was backed up. */
  compare(): Promise<string[]>;
  /** Puts it into the live one's place and keeps that as `<name>_before_<id>`; returns what was kept. */
  swapIn(): Promise<string>;
  /** After {@link swapIn}: puts the live one back, because another part could not be swapped in. */
  swapBack(): Promise<void>;
  /** Removes what was restored. */
  discard(): Promise<void>;
}

/** Of older backups, the number of rows of a large table was an estimate: there is nothing to compare it with. */
const isCounted = ({ exact }: TableRows) => exact !== false;

/** What two countings disagree on, a line each. */
export function differences(expected: readonly TableRows[], found: readonly TableRows[]): string[] {
  const lines: string[] = [];
  for (const { table, rows, exact } of expected) {
    const now = found.find((t) => t.table === table);
    if (!now) lines.push(`table ${table} is missing`);
    else if (isCounted({ table, rows, exact }) && now.rows !== rows)
      lines.push(`table ${table} has ${now.rows} rows, was backed up with ${rows}`);
  }
  for (const { table } of found) {
    if (!expected.some((t) => t.table === table))
      lines.push(`table ${table} is not in the backup's manifest`);
  }
  return lines;
}

/** The rows that were counted, and which tables were not: an estimate is added to no count. */
export function describeRows(tables: readonly TableRows[]): string {
  const counted = tables.filter(isCounted);
  const others = tables.filter((t) => !isCounted(t)).map(({ table }) => table);
  const rows = counted.reduce((sum, t) => sum + t.rows, 0);
  const text = `${count(counted.length, 'table')}, ${count(rows, 'row')}`;
  return others.length > 0 ? `${text}; rows not compared: ${others.join(', ')}` : text;
}
