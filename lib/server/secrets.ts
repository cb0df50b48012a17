import { posix } from 'node:path';
import { ENV_NAME, parseEnv } from '../env-file.ts';
import { EXIT, Failure, Problems } from '../failure.ts';
import { hostFileMode, readHostFile } from '../host-files.ts';
import { Secret } from '../secret.ts';
import type { Values as SettingValues } from '../settings.ts';
import type { Host } from '../shell.ts';
import { draw, generators, parseTemplate, type Template, type Values } from './env-template.ts';
import type { Address, secretsSettings } from './secret-settings.ts';
import type { SecretStore, Stored } from './secret-stores.ts';

export type SecretsSettings = SettingValues<typeof secretsSettings> & {
  APP_DIR: string;
  AWS_REGION?: string | undefined;
};

/** The env file of an app on its host, as it is now. */
export interface EnvFile {
  readonly path: string;
  readonly text: string | undefined;
  readonly entries: ReadonlyMap<string, string>;
  /** Others than its owner may read it. */
  readonly open: boolean;
}

/** @throws Failure when it cannot be read or understood */
export async function readEnvFile(host: Host, { APP_DIR, SECRETS_FILE }: SecretsSettings): Promise<EnvFile> {
  const path = posix.resolve(APP_DIR, SECRETS_FILE);
  const text = await readHostFile(host, path);
  const mode = text === undefined ? 0o600 : await hostFileMode(host, path);
  return { path, text, entries: understood(path, text ?? ''), open: (mode & 0o077) !== 0 };
}

function understood(path: string, text: string): Map<string, string> {
  try {
    return new Map(Object.entries(parseEnv(text)));
  } catch (error) {
    throw new Failure(`${path}: ${(error as Error).message}`, {
      next: 'correct the line, or move the file away: what only it has would be lost',
    });
  }
}

const USUAL_TEMPLATE = '.env.template';

/** The app's template; undefined where it has none. @throws Failure when the one that is named is not there */
export async function readTemplate(
  host: Host,
  { APP_DIR, SECRETS_TEMPLATE }: SecretsSettings,
): Promise<Template | undefined> {
  const path = posix.resolve(APP_DIR, SECRETS_TEMPLATE ?? USUAL_TEMPLATE);
  const text = await readHostFile(host, path);
  if (text !== undefined) return parseTemplate(text, path);
  if (SECRETS_TEMPLATE === undefined) return undefined;
  throw new Failure(`SECRETS_TEMPLATE=${SECRETS_TEMPLATE}: ${path} is not there`, {
    exit: EXIT.usage,
    next: 'correct it, or APP_DIR',
  });
}

/** The env file, which has to be there. @throws Failure when it is not */
export async function needFile(host: Host, settings: SecretsSettings): Promise<EnvFile> {
  const file = await readEnvFile(host, settings);
  if (file.text !== undefined) return file;
  throw new Failure(`${file.path} is not there`, { exit: EXIT.usage, next: 'correct its name, or APP_DIR' });
}

/** The template, which has to be there. @throws Failure when it is not */
export async function needTemplate(host: Host, settings: SecretsSettings): Promise<Template> {
  const template = await readTemplate(host, settings);
  if (template) return template;
  throw new Failure(`${posix.resolve(settings.APP_DIR, USUAL_TEMPLATE)} is not there`, {
    exit: EXIT.usage,
    next: 'write one (docs/secrets.md), or name it: SECRETS_TEMPLATE',
  });
}

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

/** New values for those generated secrets that have none. */
export function drawMissing(template: Template, existing: Values): Map<string, Secret> {
  const missing = [...generators(template)].filter(([name]) => !existing.has(name));
  return new Map(missing.map(([name, generator]) => [name, draw(generator)]));
}

/**
 * A value that only the file has is in use: another one in the store would lock the app out at the next fetch.
 * @throws Problems naming them, and what the store has under a name and is no text
 */
export function refuseOverwriting(drawn: Values, file: EnvFile, { unfit }: Secrets): void {
  const names = [...drawn.keys()];
  const used = names.filter((name) => file.entries.get(name));
  const wrong = names.filter((name) => unfit.has(name));
  throwAll([
    ...used.map((name) => {
      const message = `${name} has a value in ${file.path}, and none in the store`;
      return new Failure(message, { next: 'store that one: push-secrets' });
    }),
    ...wrong.map((name) => new Failure(unfit.get(name) ?? name, { next: 'remove it there, or correct it' })),
  ]);
}
