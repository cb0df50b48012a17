import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkout } from '../../sandbox/names.ts';
import { interleave } from '../measure.ts';
import { timed } from '../run.ts';
import { spread, within } from '../table.ts';
import type { Bench } from '../world.ts';
import type { Outcome } from './index.ts';

const RUNS = 10;

/** What it takes to be shown how a script is used, against what `npx tsx` takes to run nothing. */
export async function help({ dir, env }: Bench): Promise<Outcome> {
  const empty = join(dir, 'empty.ts');
  await writeFile(empty, '');
  const npx = async (...args: string[]): Promise<number> =>
    (await timed(['npx', '--prefix', checkout, 'tsx', ...args], env)).seconds;
  const { ours, nothing } = await interleave('--help', RUNS, {
    ours: () => npx(join(checkout, 'scripts/backup/backup.ts'), '--help'),
    nothing: () => npx(empty),
  });
  const shown = { ours: spread(ours), floor: spread(nothing) };
  const what = '`backup.ts --help` against an empty script, both by npx tsx';
  return { rows: [within(what, ours.median, nothing.median, 1.2, shown)], notes: [] };
}
