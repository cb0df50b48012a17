import { createDecipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';
import type { Command } from './command.ts';
import type { Host } from './host.ts';
import { Secret } from './secret.ts';

const ITERATIONS = 1000;

/** The first line of the input is a key; the command gets the rest, and what it writes is encrypted whole. */
const SEAL = `read -r key
text=$("$@"; code=$?; printf x; exit $code) || exit $?
printf %s "\${text%x}" | key=$key openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter ${ITERATIONS} -a -pass env:key`;

/**
 * Runs a command that writes secrets, and returns what it wrote. SSM keeps the output of commands for a month where
 * others may read it: there it is encrypted, on the host, with a key of this one run.
 */
export async function runForSecret(host: Host, command: Command, input?: string | Secret): Promise<string> {
  if (!host.target.startsWith('ssm:')) return host.run(command, input);
  const key = randomBytes(32).toString('hex');
  const text = typeof input === 'string' || input === undefined ? (input ?? '') : input.reveal();
  const argv: Command['argv'] = ['sh', '-c', SEAL, 'seal', ...command.argv];
  return opened(await host.run({ ...command, argv }, new Secret(`${key}\n${text}`)), key);
}

/** What `openssl enc` wrote: `Salted__`, eight bytes of salt, and the text. */
export function opened(sealed: string, password: string): string {
  const bytes = Buffer.from(sealed, 'base64');
  const derived = pbkdf2Sync(password, bytes.subarray(8, 16), ITERATIONS, 48, 'sha256');
  const decipher = createDecipheriv('aes-256-ctr', derived.subarray(0, 32), derived.subarray(32));
  return Buffer.concat([decipher.update(bytes.subarray(16)), decipher.final()]).toString('utf8');
}
