import { readFileSync } from 'node:fs';
import { EXIT, Failure } from './failure.ts';

/** The raw text of every variable: the files in order, each over the one before, and the environment over all. */
export async function readEnvironment(
  files: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Record<string, string>> {
  const { parseEnv } = await import('./env-file.ts');
  let merged: Record<string, string> = {};
  const named = files.length > 0;
  for (const file of named ? files : ['.env']) {
    try {
      merged = parseEnv(readFileSync(file, 'utf8'), environment, merged);
    } catch (error) {
      if (!named && (error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(file, error as NodeJS.ErrnoException);
    }
  }
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) merged[name] = value;
  return merged;
}

function unreadable(file: string, { code, message }: NodeJS.ErrnoException): Failure {
  const [what, next] =
    code === undefined
      ? [message, 'correct the line']
      : [`cannot be read (${code})`, 'name an existing file that this user may read'];
  return new Failure(`--env-file ${file}: ${what}`, { exit: EXIT.usage, next });
}
