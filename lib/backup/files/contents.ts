import { Failure } from '../../failure.ts';
import type { Measure, Sealer } from '../seal.ts';
import type { Store } from '../store.ts';
import type { Memory } from './memory.ts';

/** The key of a content below the app's folder. */
export const contentKey = (sha256: string, suffix: string): string =>
  `content/${sha256.slice(0, 2)}/${sha256}${suffix}`;

/**
 * What the keys of contents end with. It names the recipient: a content that is encrypted to another one is not
 * the same, or backups after a change of key would need the old one.
 */
export const suffixOf = ({ recipient, suffix }: Sealer): string =>
  recipient === null ? suffix : `.${recipient.slice(-8)}${suffix}`;

/** The contents of a part that are in the store or on their way to it, each once. */
export interface Contents {
  has(measure: Measure): boolean;
  /** Stores a content that is not there by `put`, which returns the bytes that it stored. */
  add(measure: Measure, put: (key: string) => Promise<number>): Promise<void>;
  /** What was stored so far. */
  readonly added: { count: number; bytes: number };
  /** @throws Failure when contents that this backup relies on were removed while it ran */
  confirm(): Promise<void>;
}

interface Where {
  store: Store;
  suffix: string;
}

/** Learns what is in the store: from memory where its backup is still there, else from a listing. */
export async function openContents({ store, suffix }: Where, memory: Memory | undefined): Promise<Contents> {
  const present = memory && (await exists(store, memory.backup)) ? memoryOf(memory) : undefined;
  const known = present ?? (await listed(store, suffix));
  const own = new Set<string>();
  const reliedOn = new Set<string>();
  const underway = new Map<string, Promise<void>>();
  const added = { count: 0, bytes: 0 };
  const has = ({ sha256, bytes }: Measure) => {
    if (own.has(sha256)) return true;
    const size = known.get(sha256);
    const there = size !== undefined && (size === null || size === bytes);
    if (there) reliedOn.add(sha256);
    return there;
  };
  return {
    added,
    has,
    async add(measure, put) {
      if (has(measure)) return;
      const { sha256 } = measure;
      const upload =
        underway.get(sha256) ??
        put(contentKey(sha256, suffix)).then((stored) => {
          own.add(sha256);
          added.count += 1;
          added.bytes += stored;
        });
      underway.set(sha256, upload);
      await upload.finally(() => underway.delete(sha256));
    },
    async confirm() {
      if (reliedOn.size === 0) return;
      if (present && memory) {
        if (await exists(store, memory.backup)) return;
        throw vanished(`backup ${memory.backup}, whose files this one shares,`, store);
      }
      const now = await listed(store, suffix);
      const gone = [...reliedOn].filter((sha256) => !now.has(sha256));
      if (gone.length > 0)
        throw vanished(`${gone.length} contents, such as ${contentKey(gone[0] ?? '', suffix)},`, store);
    },
  };
}

function vanished(what: string, store: Store): Failure {
  return new Failure(`${what} vanished from ${store.uri} during the backup: something prunes it elsewhere`, {
    next: 'run the backup again, and never prune while it runs',
  });
}

/** `null` where the size in the store is not known. */
type Sizes = Map<string, number | null>;

function memoryOf({ known, tree }: Memory): Sizes {
  const sizes: Sizes = new Map([[tree, null]]);
  for (const { sha256 } of known.values()) sizes.set(sha256, null);
  return sizes;
}

async function exists(store: Store, backup: string): Promise<boolean> {
  for await (const _ of store.list(`backups/${backup}/manifest`)) return true;
  return false;
}

/** An object of another size than its content is a broken one; where they are encrypted, that cannot be seen. */
async function listed(store: Store, suffix: string): Promise<Sizes> {
  const sizes: Sizes = new Map();
  for await (const { key, bytes } of store.list('content/')) {
    const [, sha256 = '', rest] = /^content\/..\/([0-9a-f]{64})(.*)$/.exec(key) ?? [];
    if (rest === suffix) sizes.set(sha256, suffix === '' ? bytes : null);
  }
  return sizes;
}
