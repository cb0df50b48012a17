import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
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

/** Adds to the state, in one step: parts that start side by side write to it. The file is its owner's only. */
export function updateState(change: State): void {
  const next = { ...readState(), ...change };
  directory(stateDir);
  writeFileSync(`${file}.new`, `${JSON.stringify(next, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
