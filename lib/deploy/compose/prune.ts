import { CommandFailure } from '../../command.ts';
import type { Host } from '../../host.ts';
import type { DeploymentRecord } from '../record.ts';
import type { Release } from '../strategy.ts';

/**
 * The images that deployments have brought here and that no release to keep needs; those that somebody else brought
 * are not ours to remove.
 */
export function prunable(records: readonly DeploymentRecord[], keep: readonly Release[]): string[] {
  const kept = new Set(keep.flatMap(({ images }) => Object.values(images).map(({ id }) => id)));
  const ours = records.flatMap(({ images }) => Object.values(images));
  return [...new Set(ours.filter(({ id }) => !kept.has(id)).map(({ reference }) => reference))];
}

/** Removes them, those excepted that a container still uses. @returns how many */
export async function prune(
  host: Host,
  records: readonly DeploymentRecord[],
  keep: readonly Release[],
): Promise<number> {
  let removed = 0;
  for (const reference of prunable(records, keep)) {
    try {
      await host.run({ argv: ['docker', 'image', 'rm', reference] });
      removed += 1;
    } catch (error) {
      if (!(error instanceof CommandFailure) || !/no such image|is being used|in use/i.test(error.stderr))
        throw error;
    }
  }
  return removed;
}
