import { ENV_NAME } from '../../env-file.ts';
import { EXIT, Failure, Problems } from '../../failure.ts';
import type { Secret } from '../../secret.ts';
import type { Address } from './settings.ts';
import type { SecretStore, Stored } from './store.ts';

/** What the stores of an app hold together. */
export interface Secrets extends Stored {
  readonly stores: readonly SecretStore[];
  /** Which store has a name. */
  readonly home: ReadonlyMap<string, SecretStore>;
}

/**
 * Reads all stores.
 * @throws Problems that name what two of them hold with different values: neither is guessed to be right
 */
export async function readSecrets(stores: readonly SecretStore[]): Promise<Secrets> {
  const all = await Promise.all(stores.map(async (store) => ({ store, stored: await store.read() })));
  const unfit = new Map<string, string>();
  const values = new Map<string, Secret>();
  const home = new Map<string, SecretStore>();
  const conflicts: Failure[] = [];
  for (const { store, stored } of all) {
    const names = [...(stored?.values.keys() ?? [])].filter((name) => !ENV_NAME.test(name));
    const badly = names.map((name) => [name, 'is no name of an environment variable'] as const);
    for (const [name, why] of [...(stored?.unfit ?? []), ...badly])
      unfit.set(name, `${store.uri}: ${name} ${why}`);
    for (const [name, value] of stored?.values ?? []) {
      const other = values.get(name) ?? value;
      if (other.reveal() !== value.reveal()) conflicts.push(conflict(name, home.get(name), store));
      values.set(name, value);
      home.set(name, home.get(name) ?? store);
    }
  }
  throwAll(conflicts);
  return { values, unfit, home, stores };
}

const conflict = (name: string, one: SecretStore | undefined, other: SecretStore) =>
  new Failure(`${name} has two values: one in ${one?.uri}, another in ${other.uri}`, {
    next: 'remove it from one of them',
  });

/** @throws Problems, or the one that there is */
export function throwAll(problems: readonly Failure[]): void {
  if (problems.length > 0) throw problems.length > 1 ? new Problems(problems) : problems[0];
}

/**
 * Refuses secrets that lack what is asked for.
 * @throws Problems naming each that is missing, empty, or no text
 */
export function refuseIncomplete({ values, unfit, stores }: Secrets, needed: Iterable<string>): void {
  const where = stores.map(({ uri }) => uri).join(' and ') || 'the env file';
  const problems = [...needed].flatMap((name) => {
    const wrong = unfit.get(name);
    if (wrong) return [new Failure(wrong, { next: 'correct it there: push-secrets or generate-secrets' })];
    if (values.has(name)) return [];
    return [
      new Failure(`${where}: ${name} is missing`, { next: 'add it: push-secrets or generate-secrets' }),
    ];
  });
  throwAll(problems);
}

/** @throws Failure when not one of the stores has anything: an empty file would be made of a mistake */
export function refuseEmpty({ values, unfit, stores }: Secrets): void {
  if (values.size + unfit.size > 0) return;
  throw new Failure(`${stores.map(({ uri }) => uri).join(' and ')}: there are no secrets`, {
    next: 'correct SECRETS_FROM and AWS_REGION, or fill it: push-secrets or generate-secrets',
  });
}

/** SECRETS_FROM of those who cannot do without. */
export function needAddresses(addresses: readonly Address[] | undefined): readonly Address[] {
  if (addresses && addresses.length > 0) return addresses;
  throw new Failure('SECRETS_FROM is not set (where secrets are kept)', {
    exit: EXIT.usage,
    next: 'set it, for example SECRETS_FROM=secretsmanager:bloaty/production',
  });
}
