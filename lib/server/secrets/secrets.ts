import { ENV_NAME } from '../../env-file.ts';
import { EXIT, Failure, Problems } from '../../failure.ts';
import { Secret } from '../../secret.ts';
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
  const found = (await Promise.all(stores.map(contents))).flat();
  const values = new Map<string, Secret>();
  const home = new Map<string, SecretStore>();
  const conflicts: Failure[] = [];
  for (const { name, value, store } of found) {
    const other = values.get(name);
    if (other && value && other.reveal() !== value.reveal())
      conflicts.push(conflict(name, home.get(name), store));
    if (value) values.set(name, value);
    home.set(name, home.get(name) ?? store);
  }
  throwAll(conflicts);
  const unfit = found.flatMap(({ name, why, store }) =>
    why ? [[name, `${store.uri}: ${name} ${why}`] as const] : [],
  );
  return { values, unfit: new Map(unfit), home, stores };
}

interface Content {
  store: SecretStore;
  name: string;
  value?: Secret;
  /** Why no env file can have it. */
  why?: string;
}

async function contents(store: SecretStore): Promise<Content[]> {
  const { values = new Map(), unfit = new Map() } = (await store.read()) ?? {};
  const why = 'is no name of an environment variable';
  const good = [...values].map(([name, value]) => ({
    store,
    name,
    value,
    ...(ENV_NAME.test(name) ? {} : { why }),
  }));
  return [...good, ...[...unfit].map(([name, reason]) => ({ store, name, why: reason }))];
}

const conflict = (name: string, one: SecretStore | undefined, other: SecretStore) =>
  new Failure(`${name} has two values: one in ${one?.uri}, another in ${other.uri}`, {
    next: 'remove it from one of them',
  });

/** The secrets of an app that has no store: what its env file says of those that are asked for. */
export function secretsOf(entries: ReadonlyMap<string, string>, asked: ReadonlySet<string>): Secrets {
  const given = [...entries].filter(([name, text]) => asked.has(name) && text !== '');
  const values = new Map(given.map(([name, text]) => [name, new Secret(text)]));
  return { values, unfit: new Map(), home: new Map(), stores: [] };
}

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
