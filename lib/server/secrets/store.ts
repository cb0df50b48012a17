import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';
import { count } from '../../format.ts';
import type { Values } from './entries.ts';
import type { Address } from './settings.ts';

/** What is in a store. */
export interface Stored {
  readonly values: Values;
  /** Names whose value no env file can take, and what it is. */
  readonly unfit: ReadonlyMap<string, string>;
}

export interface Change {
  readonly set: Values;
  readonly remove: readonly string[];
}

/** A place in which secrets are kept. */
export interface SecretStore {
  readonly uri: string;
  /**
   * Undefined where nothing is there yet.
   * @throws Failure when it may not be read: that is never the same as nothing
   */
  read(): Promise<Stored | undefined>;
  /** Why the store would not take a change; asked before anything is changed. */
  refusals(change: Change): Promise<Failure[]>;
  /**
   * Changes these and keeps all others, whoever changes them at the same time.
   * @throws Failure when one of these is another one than when it was read
   */
  write(change: Change): Promise<void>;
}

/** The stores of SECRETS_FROM; their clients are loaded here. */
export async function openStores(
  addresses: readonly Address[],
  region: string | undefined,
): Promise<SecretStore[]> {
  return Promise.all(
    addresses.map(async (address) => {
      if (address.kind === 'ssm')
        return (await import('./parameter-store.ts')).parameterStore(address, region);
      return (await import('./secrets-manager.ts')).secretsManager(address, region);
    }),
  );
}

/** One call of AWS; what it throws is told as one line that names the permission. */
export async function call<T>(permission: string, on: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw awsFailure(error, permission, on);
  }
}

/** @throws Failure naming what is to be changed and was changed by somebody else since it was read */
export function refuseChanged(
  uri: string,
  { set, remove }: Change,
  read: ReadonlyMap<string, string> | undefined,
  now: ReadonlyMap<string, string> | undefined,
): void {
  const others = [...set.keys(), ...remove].filter((name) => read?.get(name) !== now?.get(name));
  if (others.length > 0) throw changedMeanwhile(uri, others);
}

export const changedMeanwhile = (uri: string, names: readonly string[]): Failure =>
  new Failure(`${uri}: somebody else has changed ${names.join(', ')} meanwhile`, {
    next: 'agree with them, then run it again',
  });

/** `too long` as stores say it. */
export const tooLong = (uri: string, what: string, size: number, limit: number): Failure =>
  new Failure(`${uri}: ${what} is too long: ${count(size, 'byte')}, of which it takes ${limit}`, {
    next: 'shorten it, or keep it in another store',
  });
