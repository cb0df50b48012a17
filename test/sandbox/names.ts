import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is wrong in one line: the command line prints it without a stack. */
export class SandboxError extends Error {}

function readPrefix(): string {
  const value = process.env.OPSBOOK_SANDBOX || 'opsbook';
  if (!/^[a-z][a-z0-9-]{0,20}$/.test(value)) {
    throw new SandboxError(
      `OPSBOOK_SANDBOX=${value}: a name of lower-case letters, digits and dashes is needed, such as opsbook2`,
    );
  }
  return value;
}

/** Every container, network and directory of this sandbox starts with it: two checkouts can have one each. */
export const prefix = readPrefix();

/** Label on all that a sandbox creates; its value is the prefix. */
export const label = 'opsbook.sandbox';

/** Image repository of the sandbox's own images; shared by all sandboxes of a machine. */
export const imageRepository = 'opsbook-sandbox';

/** Docker volume with the image stores of the hosts' own engines; survives `down`, removed by `purge`. */
export const storeVolume = 'opsbook-sandbox-store';

export const sandboxDir = dirname(fileURLToPath(import.meta.url));
export const checkout = resolve(sandboxDir, '../..');

const cacheHome = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
const stateHome = process.env.XDG_STATE_HOME || join(homedir(), '.local/state');

/** Survives `down`: the engine's image store, the Compose plugin, build logs. */
export const cacheDir = join(cacheHome, 'opsbook-sandbox');

/** Removed by `down`: secrets, keys, the app directories of the hosts. */
export const stateRoot = join(stateHome, 'opsbook-sandbox');
export const stateDir = join(stateRoot, prefix);

export const containerName = (part: string): string => `${prefix}-${part}`;

/** A directory that exists when this returns. */
export function directory(...parts: string[]): string {
  const path = join(...parts);
  mkdirSync(path, { recursive: true });
  return path;
}
