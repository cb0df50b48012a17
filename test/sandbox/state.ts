import { existsSync, readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { directory, stateDir } from './names.ts';

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

/** What cannot be asked of the engine: secrets that were made for this sandbox. */
export interface State {
  /** container whose moto holds the buckets and users below; another container has to be seeded again */
  awsContainer?: string;
  /** by IAM user name */
  awsUsers?: Record<string, Credentials>;
  /** settings of each app, as in its .env */
  apps?: Record<string, Record<string, string>>;
  /** password of the direct PostgreSQL servers */
  postgresPassword?: string;
}

const file = join(stateDir, 'state.json');

export function readState(): State {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as State) : {};
}

/** Adds to the state; the file is readable by its owner only. */
export async function updateState(change: State): Promise<void> {
  const next = { ...readState(), ...change };
  directory(stateDir);
  await writeFile(`${file}.new`, `${JSON.stringify(next, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
