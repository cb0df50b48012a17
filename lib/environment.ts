import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { EXIT, Failure } from './failure.ts';
import { makePublic, Secret } from './secret.ts';

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

/** Names that say of their value that it is a secret, and so long a value has to be to be looked for in all that is told. */
const SECRET_NAME = /(PASS|PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|[A-Z]+_?KEY)$/i;
const LEAST = 8;
/** Whatever else has these values, paths and questions are told with them. */
const SHOWN = ['APP', 'APP_DIR', 'TARGET', 'SECRETS_FROM'];

/** Has masked what an environment holds as secrets, the app's too: whoever's log we show may tell them. */
export function maskSecretsOf(raw: Readonly<Record<string, string>>): void {
  for (const name of SHOWN) makePublic(raw[name] ?? '');
  const shown = new Set(
    Object.entries(raw).flatMap(([name, value]) => (SECRET_NAME.test(name) ? [] : [value])),
  );
  for (const [name, value] of Object.entries(raw)) {
    const [, password = ''] = /^[a-z][\w+.-]*:\/\/[^\s:@/]*:([^\s@]+)@/i.exec(value) ?? [];
    const isSecret = SECRET_NAME.test(name) && !value.includes('://') && !isPath(value);
    for (const found of [password, isSecret ? value : ''])
      if (found.length >= LEAST && !shown.has(found)) new Secret(found);
  }
}

/** Of a value that may be a secret: base64 begins with a / as well. */
const isPath = (value: string): boolean =>
  /^(~|\.{0,2})\/[^=+]*$/.test(value) && existsSync(value.replace(/^~/, homedir()));

function unreadable(file: string, { code, message }: NodeJS.ErrnoException): Failure {
  const [what, next] =
    code === undefined
      ? [message, 'correct the line']
      : [`cannot be read (${code})`, 'name an existing file that this user may read'];
  return new Failure(`--env-file ${file}: ${what}`, { exit: EXIT.usage, next });
}
