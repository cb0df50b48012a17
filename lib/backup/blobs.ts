import { hash } from 'node:crypto';
import { z } from 'zod';
import { Failure } from '../failure.ts';
import { count } from '../format.ts';
import { folderIn, readKept, writeWhole } from '../state.ts';
import type { Encrypter, Measure } from './encryption.ts';
import { CLOCK_TOLERANCE_MS, isManifest, SETTLED_MS } from './id.ts';
import { type Headers, headers, sha256 } from './schema.ts';
import type { Store } from './store.ts';

/** Contents up to this size are held in memory and stored in one request. */
export const SMALL = 8e6;

export const measureOf = (content: Uint8Array): Measure => ({
  bytes: content.byteLength,
  sha256: hash('sha256', content, 'hex'),
});

/** The key of a content below the app's folder. */
export const contentKey = (sha256: string, suffix: string): string =>
  `content/${sha256.slice(0, 2)}/${sha256}${suffix}`;

/**
 * What the keys of contents end with. It names the recipient: a content that is encrypted to another one is not
 * the same, or backups after a change of key would need the old one.
 */
export const suffixOf = ({ recipient, suffix }: Pick<Encrypter, 'recipient' | 'suffix'>): string =>
  recipient === null ? suffix : `.${recipient.slice(-8)}${suffix}`;

/** What is known of a file or object whose content is stored. */
export interface Known {
  /** What changes when it is written: size, mtime and inode, or size and ETag. */
  stamp: string;
  sha256: string;
  headers?: Headers;
}

/** What this host knows of the last backup of one part to one store and recipient. */
export interface PartState {
  /** The backup; what it references is in the store as long as it is. */
  backup: string;
  tree: string;
  files: number;
  known: ReadonlyMap<string, Known>;
}

/** We write states of this version; those of another are not used. */
const VERSION = 1;

const line = z.union([
  z.tuple([z.string(), z.string(), sha256]),
  z.tuple([z.string(), z.string(), sha256, headers]),
]);

interface StateOf {
  stateDir: string;
  part: { kind: string; name: string; uri: string };
  store: Store;
  suffix: string;
}

function fileOf({ stateDir, part, store, suffix }: StateOf): string {
  const where = hash('sha256', [part.kind, part.uri, store.uri, suffix].join('\n'));
  return `${folderIn(stateDir, 'files')}/${part.name}-${where.slice(0, 12)}.jsonl`;
}

/** The state of a part, or nothing where there is none that can be used. */
export function readState(of: StateOf): PartState | undefined {
  try {
    const [head, ...rows] = (readKept(fileOf(of))?.toString() ?? '').split('\n');
    const { version, ...state } = JSON.parse(head ?? '');
    if (version !== VERSION) return undefined;
    const known = new Map<string, Known>();
    for (const row of rows) {
      if (row === '') continue;
      const [path, stamp, sha256, headers] = line.parse(JSON.parse(row));
      known.set(path, headers ? { stamp, sha256, headers } : { stamp, sha256 });
    }
    return { ...state, known };
  } catch {
    // Only time is lost with it: the files are read again and the store is asked what it has.
    return undefined;
  }
}

/** Writes down what the backup `state.backup` has; to be called when its manifest is in the store. */
export function writeState(of: StateOf, { known, ...head }: PartState): void {
  function* lines(): Generator<string> {
    yield `${JSON.stringify({ version: VERSION, ...head })}\n`;
    for (const [path, { stamp, sha256, headers }] of known) {
      yield `${JSON.stringify(headers ? [path, stamp, sha256, headers] : [path, stamp, sha256])}\n`;
    }
  }
  writeWhole(fileOf(of), lines());
}

/** What was in the store when the backup began. */
interface Presence {
  has(measure: Measure): boolean;
  /** Whether the content is there that a file of the last backup had. */
  hasStill(measure: Measure): boolean;
  /** @throws Failure when contents that this backup relies on, or stored, were removed while it ran */
  confirm(): Promise<void>;
}

/** The contents of a part that are in the store or on their way to it, each once. */
export interface Blobs extends Presence {
  /** Stores a content that is not there by `put`, which returns the bytes that it stored. */
  add(measure: Measure, put: (key: string) => Promise<number>): Promise<void>;
  /** What was stored so far. */
  readonly added: { count: number; bytes: number };
}

interface Where {
  store: Store;
  suffix: string;
}

/** Finds what is in the store: by the host's state where its backup is still there, else by a listing. */
export async function openBlobs(where: Where, state: PartState | undefined): Promise<Blobs> {
  const trusted = state !== undefined && (await isFinished(where.store, state.backup));
  const present = trusted ? known(where, state) : await listing(where);
  const own = new Set<string>();
  const underway = new Map<string, Promise<void>>();
  const opened = Date.now();
  const added = { count: 0, bytes: 0 };
  const has = (measure: Measure) => own.has(measure.sha256) || present.has(measure);
  return {
    ...present,
    added,
    has,
    async add(measure, put) {
      if (has(measure)) return;
      const { sha256 } = measure;
      const upload =
        underway.get(sha256) ??
        put(contentKey(sha256, where.suffix)).then((stored) => {
          own.add(sha256);
          added.count += 1;
          added.bytes += stored;
        });
      underway.set(sha256, upload);
      await upload.finally(() => underway.delete(sha256));
    },
    async confirm() {
      await present.confirm();
      // What is younger no prune takes for garbage.
      if (Date.now() - opened >= SETTLED_MS - CLOCK_TOLERANCE_MS) await confirmThere(own, where);
    },
  };
}

function known({ store }: Where, { backup, tree, known }: PartState): Presence {
  let all: Set<string> | undefined;
  let reliedOn = false;
  const relyOn = (there: boolean) => {
    reliedOn ||= there;
    return there;
  };
  return {
    hasStill: () => relyOn(true),
    has({ sha256 }) {
      if (sha256 === tree) return relyOn(true);
      // Not made before it is needed: where nothing has changed it never is.
      all ??= new Set([...known.values()].map((file) => file.sha256));
      return relyOn(all.has(sha256));
    },
    async confirm() {
      if (!reliedOn || (await isFinished(store, backup))) return;
      throw vanished(`backup ${backup}, whose files this one shares,`, store);
    },
  };
}

async function listing(where: Where): Promise<Presence> {
  const sizes = await listed(where);
  const reliedOn = new Set<string>();
  const has = ({ sha256, bytes }: Measure) => {
    const size = sizes.get(sha256);
    const there = size !== undefined && (size === null || size === bytes);
    if (there) reliedOn.add(sha256);
    return there;
  };
  return { has, hasStill: has, confirm: () => confirmThere(reliedOn, where) };
}

async function confirmThere(wanted: ReadonlySet<string>, where: Where): Promise<void> {
  if (wanted.size === 0) return;
  const now = await listed(where);
  const [first, ...more] = [...wanted].filter((sha256) => !now.has(sha256));
  if (first === undefined) return;
  const what = `${count(more.length + 1, 'content')}, such as ${contentKey(first, where.suffix)},`;
  throw vanished(what, where.store);
}

/** The size of each content, or `null` where they are encrypted: then it is not known what it should be. */
async function listed({ store, suffix }: Where): Promise<Map<string, number | null>> {
  const sizes = new Map<string, number | null>();
  for await (const { key, bytes } of store.list('content/')) {
    const [, sha256 = '', rest] = /^content\/..\/([0-9a-f]{64})(.*)$/.exec(key) ?? [];
    if (rest === suffix) sizes.set(sha256, suffix === '' ? bytes : null);
  }
  return sizes;
}

const vanished = (what: string, store: Store): Failure =>
  new Failure(`${what} vanished from ${store.uri} during the backup: something prunes it elsewhere`, {
    next: 'run the backup again, and never prune while it runs',
  });

/** Whether a backup has its manifest by now. */
export async function isFinished(store: Store, backup: string): Promise<boolean> {
  for await (const { key } of store.list(`backups/${backup}/manifest`))
    if (isManifest(key, backup)) return true;
  return false;
}
