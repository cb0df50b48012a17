import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { readKept, removeKept, writeWhole } from '../state.ts';
import { fromText } from './addresses.ts';
import { isReadable } from './file-system.ts';
import { dateOf } from './id.ts';
import type { Work } from './manifest.ts';

export const backupId = z.string().refine((id) => dateOf(id) !== undefined, 'is not the id of a backup');

/**
 * One restore of a part. It is written down before each of its phases, so that one that was cut off can be put back, and
 * a finished one undone.
 */
interface Entry {
  part: string;
  /** The backup that is restored. */
  id: string;
  /** `done`, or what was going on when the restore, or its undo, was cut off. */
  phase: string;
}

/**
 * The journals of the parts of one kind: each part's last restore on this host, in a file of the state folder. What a
 * journal says becomes paths, buckets and owners, and whoever owns the folder may have written it: reading one throws a
 * Failure that names the file when it is not what we would have written.
 */
export class Journals<T extends Entry> {
  readonly #prefix: string;
  readonly #schema: z.ZodType<T>;

  /** @param prefix begins the names of the files */
  constructor(prefix: string, schema: z.ZodType<T>) {
    this.#prefix = prefix;
    this.#schema = schema;
  }

  #fileOf(stateDir: string, part: string): string {
    return `${stateDir}/${this.#prefix}-${part}.json`;
  }

  #read(stateDir: string, part: string): T | undefined {
    const text = readKept(this.#fileOf(stateDir, part))?.toString();
    if (text === undefined) return undefined;
    const { success, data, error } = this.#schema.safeParse(parsed(text));
    if (!success) {
      const { path = [], message = '' } = error.issues[0] ?? {};
      throw this.refused(stateDir, part, `${path.join('/') || 'it'}: ${message}`);
    }
    if (data.part !== part) throw this.refused(stateDir, part, `part: is not ${part}`);
    return data;
  }

  /** A journal that is not one of ours, or names other paths or buckets than the settings do. */
  refused(stateDir: string, part: string, why: string): Failure {
    const file = this.#fileOf(stateDir, part);
    return new Failure(`${file} is not a journal of this part (${why}): nothing is moved by it`, {
      next: 'find out who changed it or the settings since; put what it names back by hand, then remove it',
    });
  }

  write(stateDir: string, entry: T): T {
    writeWhole(this.#fileOf(stateDir, entry.part), [`${JSON.stringify(entry)}\n`]);
    return entry;
  }

  remove(stateDir: string, part: string): void {
    removeKept(this.#fileOf(stateDir, part));
  }

  /** The last restore or undo, cut off or done; undefined where there was none. */
  last(stateDir: string, part: string): T | undefined {
    return this.#read(stateDir, part);
  }

  /** The last restore or undo, where it was cut off. */
  cutOff(stateDir: string, part: string): T | undefined {
    const entry = this.last(stateDir, part);
    return entry?.phase === 'done' ? undefined : entry;
  }

  /** The restore that an undo is about. @throws Failure where there is none */
  toUndo(stateDir: string, part: string): T {
    const entry = this.#read(stateDir, part);
    if (entry) return entry;
    throw new Failure(`${part}: there is no restore to undo on this host`, {
      exit: EXIT.usage,
      next: 'to restore an earlier backup: npx tsx scripts/backup/list.ts',
    });
  }

  /** A backup of what a restore left half done would mix two states. @throws Failure */
  refuseCutOff({ stateDir, appDir }: Work, part: string, doing: (entry: T) => string): void {
    const folder = stateDir ?? `${appDir}/.opsbook`;
    const entry = isReadable(fromText(folder)) ? this.cutOff(folder, part) : undefined;
    if (!entry) return;
    throw new Failure(`${part}: the restore of ${entry.id} was cut off while it ${doing(entry)}`, {
      next: 'restore it again, or undo it: npx tsx scripts/backup/restore.ts --undo',
    });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
