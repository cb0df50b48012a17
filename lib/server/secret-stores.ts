import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { awsFailure, secretsManagerClient, ssmClient } from '../aws.ts';
import type { Context } from '../definition.ts';
import { ENV_NAME } from '../env-file.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import { count } from '../format.ts';
import { membersOf, Secret } from '../secret.ts';
import type { Address, SecretsSettings } from './secret-settings.ts';

/** Secrets by their names. */
export type Values = ReadonlyMap<string, Secret>;

/** What is in a store. */
interface Stored {
  readonly values: Values;
  /** Names whose value no env file can take, and what it is. */
  readonly unfit: ReadonlyMap<string, string>;
}

interface Change {
  readonly set: Values;
  readonly remove: readonly string[];
}

/** A store of secrets. */
export interface SecretStore {
  readonly uri: string;
  /** @throws Failure when it may not be read: that is never the same as nothing */
  read(): Promise<Stored>;
  /** Why the store would not take a change; asked before anything is changed. */
  refusals(change: Change): Promise<Failure[]>;
  /**
   * Changes these and keeps all others, whoever changes them at the same time.
   * @throws Failure when somebody else has changed one of these since it was read
   */
  write(change: Change): Promise<void>;
}

/** The stores of SECRETS_FROM, none where it is not set. Nothing is read yet. */
export function openStores({
  SECRETS_FROM = [],
  AWS_REGION,
}: Pick<SecretsSettings, 'SECRETS_FROM' | 'AWS_REGION'>): Promise<SecretStore[]> {
  const open = { ssm: parameterStore, secretsmanager: secretsManager };
  return Promise.all(SECRETS_FROM.map((address) => open[address.kind](address, AWS_REGION)));
}

/** The same for a script that needs one. @throws Failure with exit 2 when SECRETS_FROM is not set */
export async function needStores(settings: SecretsSettings): Promise<SecretStore[]> {
  const stores = await openStores(settings);
  if (stores.length > 0) return stores;
  throw new Failure('SECRETS_FROM is not set (where secrets are kept)', {
    exit: EXIT.usage,
    next: 'set it, for example SECRETS_FROM=secretsmanager:bloaty/production',
  });
}

/** The stores as messages name them; empty where there is none. */
export const urisOf = (stores: readonly SecretStore[]): string => stores.map(({ uri }) => uri).join(' and ');

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
  const found = await Promise.all(stores.map(async (store) => ({ store, ...(await store.read()) })));
  const values = new Map<string, Secret>();
  const unfit = new Map<string, string>();
  const home = new Map<string, SecretStore>();
  const conflicts: Failure[] = [];
  for (const { store, ...stored } of found) {
    for (const [name, value] of stored.values) {
      const other = values.get(name);
      if (other && other.reveal() !== value.reveal()) conflicts.push(conflict(name, home.get(name), store));
      values.set(name, value);
    }
    for (const [name, why] of [...badNames(stored.values), ...stored.unfit])
      unfit.set(name, `${store.uri}: ${name} ${why}`);
    for (const name of namesOf(stored)) if (!home.has(name)) home.set(name, store);
  }
  throwAll(conflicts);
  return { values, unfit, home, stores };
}

const badNames = (values: Values) =>
  [...values.keys()]
    .filter((name) => !ENV_NAME.test(name))
    .map((name) => [name, 'is not a name of an environment variable'] as const);

/** All names that are stored, those too whose value no env file can take. */
export const namesOf = ({ values, unfit }: Stored): string[] => [...values.keys(), ...unfit.keys()];

const conflict = (name: string, one: SecretStore | undefined, other: SecretStore) =>
  new Failure(`${name} has two values: one in ${one?.uri}, another in ${other.uri}`, {
    next: 'remove it from one of them',
  });

/** The same; of an app that has no store, what its env file says of the secrets that are asked for. */
export async function readSecretsOrFile(
  stores: readonly SecretStore[],
  entries: ReadonlyMap<string, string>,
  asked: ReadonlySet<string>,
): Promise<Secrets> {
  if (stores.length > 0) return readSecrets(stores);
  const given = [...entries].filter(([name, text]) => asked.has(name) && text !== '');
  const values = new Map(given.map(([name, text]) => [name, new Secret(text)]));
  return { values, unfit: new Map(), home: new Map(), stores };
}

/** What is to be changed in one store. */
interface Put {
  readonly store: SecretStore;
  readonly change: Change;
}

/**
 * A change, sorted by the stores that have the names; a new name goes to the first store.
 * @throws Problems with all that the stores would not take, before anything is changed
 */
export async function planPuts(
  { stores, home }: Secrets,
  set: Values,
  remove: readonly string[] = [],
): Promise<Put[]> {
  const puts = stores.flatMap((store) => {
    const isHere = (name: string) => (home.get(name) ?? stores[0]) === store;
    const change = { set: new Map([...set].filter(([name]) => isHere(name))), remove: remove.filter(isHere) };
    return change.set.size + change.remove.length > 0 ? [{ store, change }] : [];
  });
  throwAll((await Promise.all(puts.map(({ store, change }) => store.refusals(change)))).flat());
  return puts;
}

/** Changes the stores, a step each. */
export async function putAll(puts: readonly Put[], change: Context['change']): Promise<void> {
  for (const { store, change: what } of puts) {
    const names = [
      ...[...what.set.keys()].map((name) => `store ${name}`),
      ...what.remove.map((name) => `remove ${name}`),
    ];
    await change(`write ${store.uri}`, names, () => store.write(what));
  }
}

/** One call of AWS. @throws Failure of one line that names the permission */
async function call<T>(permission: string, on: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw awsFailure(error, permission, on);
  }
}

export const changedMeanwhile = (uri: string, names: readonly string[]): Failure =>
  new Failure(`${uri}: somebody else has changed ${names.join(', ')} meanwhile`, {
    next: 'agree with them, then run it again',
  });

const tooLong = (uri: string, what: string, size: number, limit: number): Failure =>
  new Failure(`${uri}: ${what} is too long: ${count(size, 'byte')}; the limit is ${limit}`, {
    next: 'shorten it, or keep it in another store',
  });

/** The most that a parameter holds, in bytes, and how much of that is not charged for. */
const PARAMETER_MAX = 8192;
const STANDARD_MAX = 4096;
/** DeleteParameters takes this many names at once. */
const AT_ONCE = 10;

/** The parameters right below a path of AWS Systems Manager Parameter Store; what lies deeper is another path's. */
async function parameterStore(
  { name: path, uri }: Address,
  region: string | undefined,
): Promise<SecretStore> {
  const client = await ssmClient(region);
  const sdk = await import('@aws-sdk/client-ssm');
  /** Names that were there when it was read: a parameter has no version with which a put could be conditional. */
  let seen = new Set<string>();

  const parameters = () =>
    call('ssm:GetParametersByPath', uri, async () => {
      const found = new Map<string, string>();
      const pages = sdk.paginateGetParametersByPath({ client }, { Path: path, WithDecryption: true });
      for await (const { Parameters = [] } of pages)
        for (const { Name = '', Value = '' } of Parameters) found.set(Name.slice(path.length), Value);
      return found;
    });

  /** @throws Failure when a name that was not there is there now, with another value */
  const put = async (name: string, Value: string) => {
    const advanced = Buffer.byteLength(Value) > STANDARD_MAX ? ({ Tier: 'Advanced' } as const) : {};
    const parameter = { Name: path + name, Value, Type: 'SecureString', Overwrite: seen.has(name) } as const;
    const command = new sdk.PutParameterCommand({ ...parameter, ...advanced });
    const stored = await call('ssm:PutParameter', `${uri} ${name}`, () =>
      client.send(command).catch(undefinedFor(sdk.ParameterAlreadyExists)),
    );
    // One that is ours already was put by a try whose answer was lost.
    if (!stored && (await parameters()).get(name) !== Value) throw changedMeanwhile(uri, [name]);
  };

  return {
    uri,
    async read() {
      const found = await parameters();
      seen = new Set(found.keys());
      const values = new Map<string, Secret>();
      const unfit = new Map<string, string>();
      for (const [name, text] of found)
        if (text === '') unfit.set(name, 'is empty');
        else values.set(name, new Secret(text));
      return { values, unfit };
    },
    async refusals({ set }) {
      return [...set].flatMap(([name, value]) => parameterRefusal(uri, name, value.reveal()) ?? []);
    },
    async write({ set, remove }) {
      for (const [name, value] of set) await put(name, value.reveal());
      for (let i = 0; i < remove.length; i += AT_ONCE) {
        const Names = remove.slice(i, i + AT_ONCE).map((name) => path + name);
        const command = new sdk.DeleteParametersCommand({ Names });
        await call('ssm:DeleteParameters', uri, () => client.send(command));
      }
    },
  };
}

function parameterRefusal(uri: string, name: string, text: string): Failure | undefined {
  const size = Buffer.byteLength(text);
  if (size > PARAMETER_MAX) return tooLong(uri, name, size, PARAMETER_MAX);
  if (!/\{\{[\s\S]*\}\}/.test(text)) return undefined;
  return new Failure(`${uri}: ${name} has "{{…}}" in it, which Parameter Store does not take`, {
    next: 'keep it in Secrets Manager',
  });
}

/** For what the SDK throws where something is, or is not there, and nothing is wrong with that. */
const undefinedFor = (kind: new (...args: never[]) => Error) => (error: unknown) => {
  if (error instanceof kind) return undefined;
  throw error;
};

/** The most that a secret of AWS Secrets Manager holds, in bytes. */
const SECRET_MAX = 65_536;

/** The label of a version that is not current yet. AWSPENDING is that of a rotation of AWS's own. */
const PENDING = 'OPSBOOK_PENDING';
/** Others may be faster this many times; each try is a version, of which a secret has a hundred a day. */
const TRIES = 12;
const PAUSE_MS = 250;

/** What a secret holds: the values of its names as JSON has them, and which version that is. */
interface Current {
  readonly version: string;
  readonly members: ReadonlyMap<string, string>;
}

/**
 * A secret of AWS Secrets Manager: one JSON object, a key for each name. Who changes one name writes all of them, so
 * the text is made again whenever somebody else was faster.
 */
async function secretsManager(address: Address, region: string | undefined): Promise<SecretStore> {
  const { uri } = address;
  const { current, create, replace } = await versionsOf(address, region);
  let seen: Current | undefined;
  return {
    uri,
    async read() {
      seen = await current();
      return sorted(seen?.members ?? new Map());
    },
    async refusals(change) {
      const size = Buffer.byteLength(changed(await current(), change));
      return size > SECRET_MAX ? [tooLong(uri, 'all of it together', size, SECRET_MAX)] : [];
    },
    async write(change) {
      const names = [...change.set.keys(), ...change.remove];
      for (let tries = 0; tries < TRIES; tries += 1) {
        const before = await current();
        if (isDone(before, change)) return;
        const others = names.filter((name) => seen?.members.get(name) !== before?.members.get(name));
        if (others.length > 0) throw changedMeanwhile(uri, others);
        const text = changed(before, change);
        if (!before && (await create(text))) return;
        if (await replace(before?.version, text)) return;
        await sleep(randomInt(PAUSE_MS * (tries + 1)));
      }
      throw new Failure(`${uri}: others changed it ${TRIES} times while it was to be written`, {
        next: 'nothing was changed: run it again when they have ended',
      });
    },
  };
}

/**
 * The versions of a secret. A new one becomes current only in the place of the version that it was made of:
 * UpdateSecretVersionStage refuses it where another version is current by then.
 */
async function versionsOf({ name, uri }: Address, region: string | undefined) {
  const client = await secretsManagerClient(region);
  const sdk = await import('@aws-sdk/client-secrets-manager');

  /** @returns undefined where the label is at another version than `RemoveFromVersionId` */
  const move = (VersionStage: string, RemoveFromVersionId?: string, MoveToVersionId?: string) => {
    const stage = { SecretId: name, VersionStage, RemoveFromVersionId, MoveToVersionId };
    const command = new sdk.UpdateSecretVersionStageCommand(stage);
    return call('secretsmanager:UpdateSecretVersionStage', uri, () =>
      client.send(command).catch(undefinedFor(sdk.InvalidParameterException)),
    );
  };

  return {
    /** @returns undefined where there is no secret yet, or one without a value */
    async current(): Promise<Current | undefined> {
      const command = new sdk.GetSecretValueCommand({ SecretId: name, VersionStage: 'AWSCURRENT' });
      const secret = await call('secretsmanager:GetSecretValue', uri, () =>
        client.send(command).catch(undefinedFor(sdk.ResourceNotFoundException)),
      );
      return secret && { version: secret.VersionId ?? '', members: objectOf(uri, secret.SecretString) };
    },
    /** @returns undefined where somebody else has made it meanwhile */
    create(SecretString: string) {
      const command = new sdk.CreateSecretCommand({ Name: name, SecretString });
      return call('secretsmanager:CreateSecret', uri, () =>
        client.send(command).catch(undefinedFor(sdk.ResourceExistsException)),
      );
    },
    /**
     * @param from the version that is current, none in a secret that has no value
     * @returns false where another version is current by now
     */
    async replace(from: string | undefined, SecretString: string): Promise<boolean> {
      const put = new sdk.PutSecretValueCommand({ SecretId: name, SecretString, VersionStages: [PENDING] });
      const { VersionId: made } = await call('secretsmanager:PutSecretValue', uri, () => client.send(put));
      if (!(await move('AWSCURRENT', from, made))) return false;
      await move(PENDING, made);
      return true;
    },
  };
}

/** The text of the secret after a change; every other value as it stands there, to the byte. */
function changed(before: Current | undefined, { set, remove }: Change): string {
  const members = new Map(before?.members);
  for (const name of remove) members.delete(name);
  for (const [name, value] of set) members.set(name, JSON.stringify(value.reveal()));
  return `{${[...members].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`;
}

/** Whether there is nothing to change, as after a try whose answer was lost. */
const isDone = (before: Current | undefined, { set, remove }: Change) =>
  before !== undefined &&
  remove.every((name) => !before.members.has(name)) &&
  [...set].every(([name, value]) => before.members.get(name) === JSON.stringify(value.reveal()));

function objectOf(uri: string, text: string | undefined): Map<string, string> {
  const failure = (what: string) =>
    new Failure(`${uri}: ${what}, and has to be a JSON object of names and texts`, {
      next: 'correct it in Secrets Manager',
    });
  if (text === undefined) throw failure('is binary');
  let members: Map<string, string> | undefined;
  try {
    members = membersOf(new Secret(text));
  } catch {
    throw failure('is not JSON');
  }
  if (members) return members;
  throw failure(`is ${kindOf(text)}`);
}

function sorted(members: ReadonlyMap<string, string>): Stored {
  const values = new Map<string, Secret>();
  const unfit = new Map<string, string>();
  for (const [name, json] of members) {
    if (!json.startsWith('"')) unfit.set(name, `is ${kindOf(json)}, and has to be a text`);
    else if (json === '""') unfit.set(name, 'is empty');
    else values.set(name, new Secret(JSON.parse(json)));
  }
  return { values, unfit };
}

/** What a JSON text is. */
function kindOf(json: string): string {
  const text = json.trim();
  if (text === 'null') return 'null';
  if (text.startsWith('[')) return 'a list';
  if (text.startsWith('{')) return 'an object';
  if (text.startsWith('"')) return 'a string';
  return /^[tf]/.test(text) ? 'a boolean' : 'a number';
}
