import { createHash } from 'node:crypto';
import { z } from 'zod';
import { folderIn, readKept, writeWhole } from '../../keep.ts';
import { headers, sha256 } from '../schema.ts';
import type { Store } from '../store.ts';
import type { Headers } from './tree.ts';

/** Of this version are the memories that we write; others are as good as none. */
const VERSION = 1;

const line = z.union([
  z.tuple([z.string(), z.string(), sha256]),
  z.tuple([z.string(), z.string(), sha256, headers]),
]);

/** What is known of a file or object whose content is stored. */
export interface Known {
  /** What changes when it is written: size, mtime and inode, or size and ETag. */
  stamp: string;
  sha256: string;
  headers?: Headers;
}

/** What the host remembers of the last backup of one part to one store and recipient. */
export interface Memory {
  /** The backup; what it references is in the store as long as it is. */
  backup: string;
  tree: string;
  files: number;
  known: ReadonlyMap<string, Known>;
}

interface Place {
  stateDir: string;
  part: { kind: string; name: string; uri: string };
  store: Store;
  suffix: string;
}

/** The memory of a part, or nothing where there is none that can be used. */
export function recall(place: Place): Memory | undefined {
  try {
    const [head, ...rows] = (readKept(fileOf(place))?.toString() ?? '').split('\n');
    const { version, ...memory } = JSON.parse(head ?? '');
    if (version !== VERSION) return undefined;
    const known = new Map<string, Known>();
    for (const row of rows) {
      if (row === '') continue;
      const [path, stamp, sha256, headers] = line.parse(JSON.parse(row));
      known.set(path, headers ? { stamp, sha256, headers } : { stamp, sha256 });
    }
    return { ...memory, known };
  } catch {
    // Nothing is lost with it but time: the files are read again and the store is asked what it has.
    return undefined;
  }
}

/** Remembers what the backup `memory.backup` has; to be called when its manifest is in the store. */
export function remember(place: Place, { known, ...head }: Memory): void {
  function* lines(): Generator<string> {
    yield `${JSON.stringify({ version: VERSION, ...head })}\n`;
    for (const [path, { stamp, sha256, headers }] of known) {
      yield `${JSON.stringify(headers ? [path, stamp, sha256, headers] : [path, stamp, sha256])}\n`;
    }
  }
  writeWhole(fileOf(place), lines());
}

function fileOf({ stateDir, part, store, suffix }: Place): string {
  const where = createHash('sha256')
    .update([part.kind, part.uri, store.uri, suffix].join('\n'))
    .digest('hex');
  return `${folderIn(stateDir, 'files')}/${part.name}-${where.slice(0, 12)}.jsonl`;
}
