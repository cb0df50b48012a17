import { OF_DEPLOYMENTS } from '../../compose.ts';
import { changedNames, type Mark, marks } from './changes.ts';
import { type Entries, envText, fill, type Values } from './entries.ts';
import type { EnvFile } from './place.ts';
import { refuseIncomplete, type Secrets } from './secrets.ts';
import { askedFor, plainTemplate, type Template } from './template.ts';

/** An env file as it should be, beside the one that is there. */
export interface Made {
  readonly text: string;
  /** What it says, without what is only kept. */
  readonly entries: Entries;
  readonly marks: ReadonlyMap<string, Mark>;
  /** What the old file has and nothing here knows of. */
  readonly kept: readonly string[];
  /** Secrets for which the template has no use. */
  readonly unused: readonly string[];
}

/**
 * The env file that `template` makes of the secrets; what the old file has and they do not know is kept, unless `prune`.
 * @throws Problems naming every secret that is asked for and is not there
 */
export function makeFile(
  file: EnvFile,
  template: Template | undefined,
  secrets: Secrets,
  { from, prune = false }: { from: string; prune?: boolean },
): Made {
  const known: Values = secrets.values;
  const shape = template ?? plainTemplate([...known.keys(), ...secrets.unfit.keys()]);
  const { all, needed } = askedFor(shape);
  refuseIncomplete(secrets, needed);
  const entries = fill(shape, known);
  const others = [...file.entries].filter(([name]) => !entries.has(name));
  // Without it, `up` would start another version than was deployed.
  const kept = new Map(others.filter(([name]) => !prune || name === OF_DEPLOYMENTS));
  return {
    text: envText(from, shape, entries, kept),
    entries,
    marks: marks(file.entries, new Map([...entries, ...kept])),
    kept: [...kept.keys()],
    unused: [...known.keys()].filter((name) => !all.has(name)),
  };
}

/** Whether the file would be written for nothing. */
export const isCurrent = (file: EnvFile, made: Made): boolean =>
  !file.open && changedNames(made.marks).length === 0 && file.text === made.text;
