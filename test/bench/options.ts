import { parseArgs } from 'node:util';

/** How big and how often. */
export interface Options {
  area: string;
  /** Benchmarks to run; empty is all. */
  names: string[];
  /** A tenth of the sizes, to see that it works; ratios mean little. */
  small: boolean;
  /** The sizes at which memory and the second run of files are measured again. */
  large: boolean;
  /** Measured rounds; one more is run before them and not counted. */
  rounds: number;
}

export type Bench = (options: Options) => Promise<void>;

export class UsageError extends Error {}

export const usage = (
  areas: readonly string[],
): string => `npm run bench -- AREA [NAME…]   areas: ${areas.join(', ')}
  --small       a tenth of the sizes: to see that it works
  --large       also 4 GB of database and 200,000 files
  --rounds N    measured rounds, 3 unless told; a warm-up comes first
`;

/** @returns nothing when help was asked for @throws UsageError */
export function parseOptions(argv: string[], areas: readonly string[]): Options | undefined {
  const { values, positionals } = parse(argv);
  const [area, ...names] = positionals;
  if (values.help || area === undefined) return undefined;
  if (!areas.includes(area)) throw new UsageError(`no benchmarks of ${area}: there are ${areas.join(', ')}`);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError(`--rounds ${values.rounds}: is no count`);
  return { area, names, small: values.small, large: values.large, rounds };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        small: { type: 'boolean', default: false },
        large: { type: 'boolean', default: false },
        rounds: { type: 'string', default: '3' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
