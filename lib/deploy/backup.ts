import { join } from 'node:path';
import { CommandFailure } from '../command.ts';
import { Failure } from '../failure.ts';
import { localHost } from '../hosts/local.ts';

const SCRIPT = join(import.meta.dirname, '../../scripts/backup/backup.ts');

/** The flags of ours by which the backup finds the same app. */
const SHARED = /^--(env-file|target)(=|$)/;

/** `--env-file FILE` and the like, as they stand on a command line. */
export function sharedFlags(argv: readonly string[]): string[] {
  return argv.flatMap((word, i) => {
    if (!SHARED.test(word)) return [];
    const value = argv[i + 1];
    return word.includes('=') || value === undefined ? [word] : [word, value];
  });
}

/**
 * Runs the backup script, as somebody would by hand, with the settings of this run.
 * @returns the id of the backup; of a dry run nothing
 */
export async function backUp(
  mode: 'take' | 'dry run',
  signal: AbortSignal,
  argv: readonly string[] = process.argv.slice(2),
): Promise<string> {
  const words = [
    ...process.execArgv,
    SCRIPT,
    ...sharedFlags(argv),
    ...(mode === 'take' ? [] : ['--dry-run']),
  ];
  try {
    const said = await localHost({ signal }).run({ argv: [process.execPath, ...words] });
    return said.trim().split('\n').at(-1) ?? '';
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`--backup: ${error.words.replace(/^.*?error: /, '')}`, {
      next: 'try it by itself: npx tsx scripts/backup/backup.ts --dry-run',
      cause: error,
    });
  }
}
