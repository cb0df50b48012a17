import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Parameter } from '@aws-sdk/client-ssm';
import { awsFailure, secretsManagerClient, ssmClient } from '../aws.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import { count } from '../format.ts';
import type { Report } from '../output.ts';
import { membersOf, Secret } from '../secret.ts';
import type { Values } from './env-template.ts';
import type { Address } from './secret-settings.ts';
import { type Secrets, throwAll } from './secrets.ts';

/** What a parameter holds at the most, in bytes, and how much of that is not charged for. */
const PARAMETER_MAX = 8192;
const STANDARD_MAX = 4096;
/** DeleteParameters takes as many names at once. */
const AT_ONCE = 10;

/** The parameters right below a path of AWS Systems Manager Parameter Store; what lies deeper is another path's. */
async function parameterStore(
  { name: path, uri }: Address,
  region: string | undefined,
): Promise<SecretStore> {
  const client = await ssmClient(region);
  const sdk = await import('@aws-sdk/client-ssm');

  const parameters = async () => {
    const found: Parameter[] = [];
    let NextToken: string | undefined;
    do {
      // A page may be empty and yet not the last: only a missing token ends it.
      const command = new sdk.GetParametersByPathCommand({ Path: path, WithDecryption: true, NextToken });
      const page = await call('ssm:GetParametersByPath', uri, () => client.send(command));
      found.push(...(page.Parameters ?? []));
      NextToken = page.NextToken;
    } while (NextToken);
    return found;
  };

  /** Names that were there when it was read: a parameter has no version that it could be compared with as it is put. */
  let seen = new Set<string>();

  /** @throws Failure when a name that was not there is there now, with another value */
  const put = async (name: string, Value: string) => {
    const advanced = Buffer.byteLength(Value) > STANDARD_MAX ? ({ Tier: 'Advanced' } as const) : {};
    const parameter = { Name: path + name, Value, Type: 'SecureString', Overwrite: seen.has(name) } as const;
    const command = new sdk.PutParameterCommand({ ...parameter, ...advanced });
    const stored = await call('ssm:PutParameter', `${uri} ${name}`, () =>
      client.send(command).catch((error: unknown) => {
        if (error instanceof sdk.ParameterAlreadyExists) return undefined;
        throw error;
      }),
    );
    // One that is ours already was put by a try whose answer was lost.
    const ours = stored ?? (await parameters()).find(({ Name }) => Name === path + name)?.Value === Value;
    if (!ours) throw changedMeanwhile(uri, [name]);
  };

  return {
    uri,
    async read() {
      const found = await parameters();
      seen = new Set(found.map(({ Name = '' }) => Name.slice(path.length)));
      if (found.length === 0) return undefined;
      const values = found.map(({ Name = '', Value = '' }) => [Name.slice(path.length), Value] as const);
      const texts = values.filter(([, value]) => value !== '');
      const empty = values.filter(([, value]) => value === '');
      return {
        values: new Map(texts.map(([name, value]) => [name, new Secret(value)])),
        unfit: new Map(empty.map(([name]) => [name, 'is empty'])),
      };
    },
    async refusals({ set }) {
      return [...set].flatMap(([name, value]) => refusal(uri, name, value.reveal()));
    },
    async write({ set, remove }) {
      for (const [name, value] of set) await put(name, value.reveal());
      for (let i = 0; i < remove.length; i += AT_ONCE) {
        const Names = remove.slice(i, i + AT_ONCE).map((name) => path + name);
        await call('ssm:DeleteParameters', uri, () =>
          client.send(new sdk.DeleteParametersCommand({ Names })),
        );
      }
    },
  };
}

function refusal(uri: string, name: string, text: string): Failure[] {
  const size = Buffer.byteLength(text);
  if (size > PARAMETER_MAX) return [tooLong(uri, name, size, PARAMETER_MAX)];
  if (!/\{\{[\s\S]*\}\}/.test(text)) return [];
  const next = 'keep it in Secrets Manager';
  return [new Failure(`${uri}: ${name} has "{{…}}" in it, which Parameter Store does not take`, { next })];
}

/** What a secret of AWS Secrets Manager holds at the most, in bytes. */
const SECRET_MAX = 65_536;

/** The label of a version that is not current yet. AWSPENDING is that of a rotation of AWS's own. */
const PENDING = 'OPSBOOK_PENDING';
/** So often others may have been faster; each try is a version, of which a secret has a hundred a day. */
const TRIES = 12;
const PAUSE_MS = 250;

/** What a secret holds: the values of its names as JSON has them, and which version that is. */
interface Current {
  readonly version: string;
  readonly members: ReadonlyMap<string, string>;
}

/**
 * A secret of AWS Secrets Manager: one JSON object, a key for each name. Who changes one name writes all of them, so that
 * a change becomes current only in the place of the version that it was made of: that is what
 * UpdateSecretVersionStage refuses where it is another one by then.
 */
async function secretsManager({ name, uri }: Address, region: string | undefined): Promise<SecretStore> {
  const client = await secretsManagerClient(region);
  const sdk = await import('@aws-sdk/client-secrets-manager');
  let seen: Current | undefined;

  const current = async (): Promise<Current | undefined> => {
    const secret = await call('secretsmanager:GetSecretValue', uri, async () => {
      const command = new sdk.GetSecretValueCommand({ SecretId: name, VersionStage: 'AWSCURRENT' });
      return client.send(command).catch((error: unknown) => {
        if (error instanceof sdk.ResourceNotFoundException) return undefined;
        throw error;
      });
    });
    if (!secret) return undefined;
    return { version: secret.VersionId ?? '', members: objectOf(uri, secret.SecretString) };
  };

  /** @returns false where somebody else has made it meanwhile */
  const create = (SecretString: string) =>
    call('secretsmanager:CreateSecret', uri, async () => {
      try {
        await client.send(new sdk.CreateSecretCommand({ Name: name, SecretString }));
        return true;
      } catch (error) {
        if (error instanceof sdk.ResourceExistsException) return false;
        throw error;
      }
    });

  /** @param from the version that is current, none in a secret that has no value @returns false where it is another one */
  const replace = async (from: string | undefined, SecretString: string) => {
    const put = new sdk.PutSecretValueCommand({ SecretId: name, SecretString, VersionStages: [PENDING] });
    const { VersionId: made } = await call('secretsmanager:PutSecretValue', uri, () => client.send(put));
    const move = (VersionStage: string, RemoveFromVersionId?: string, MoveToVersionId?: string) =>
      call('secretsmanager:UpdateSecretVersionStage', uri, async () => {
        const stage = { SecretId: name, VersionStage, RemoveFromVersionId, MoveToVersionId };
        try {
          await client.send(new sdk.UpdateSecretVersionStageCommand(stage));
          return true;
        } catch (error) {
          if (error instanceof sdk.InvalidParameterException) return false;
          throw error;
        }
      });
    if (!(await move('AWSCURRENT', from, made))) return false;
    await move(PENDING, made);
    return true;
  };

  return {
    uri,
    async read() {
      seen = await current();
      return seen && sorted(seen.members);
    },
    async refusals(change) {
      const size = Buffer.byteLength(changed(await current(), change));
      return size > SECRET_MAX ? [tooLong(uri, 'all of it together', size, SECRET_MAX)] : [];
    },
    async write(change) {
      for (let tries = 0; tries < TRIES; tries += 1) {
        const before = await current();
        if (isDone(before, change)) return;
        refuseChanged(uri, change, seen?.members, before?.members);
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
    throw failure('is no JSON');
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

/** What is in a store. */
export interface Stored {
  readonly values: Values;
  /** Names whose value no env file can take, and what it is. */
  readonly unfit: ReadonlyMap<string, string>;
}

interface Change {
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
      if (address.kind === 'ssm') return parameterStore(address, region);
      return secretsManager(address, region);
    }),
  );
}

/** One call of AWS; what it throws is told as one line that names the permission. */
async function call<T>(permission: string, on: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw awsFailure(error, permission, on);
  }
}

/** @throws Failure naming what is to be changed and was changed by somebody else since it was read */
function refuseChanged(
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
const tooLong = (uri: string, what: string, size: number, limit: number): Failure =>
  new Failure(`${uri}: ${what} is too long: ${count(size, 'byte')}, of which it takes ${limit}`, {
    next: 'shorten it, or keep it in another store',
  });

/** What is to be changed in one store. */
export interface Put {
  readonly store: SecretStore;
  readonly change: Change;
}

/** Sorts a change by the stores that have the names; a new name goes to the first store. */
export function putsFor(secrets: Secrets, set: Values, remove: readonly string[] = []): Put[] {
  const [first] = secrets.stores;
  const home = (name: string) => secrets.home.get(name) ?? first;
  return secrets.stores.flatMap((store) => {
    const change = {
      set: new Map([...set].filter(([name]) => home(name) === store)),
      remove: remove.filter((name) => home(name) === store),
    };
    return change.set.size + change.remove.length > 0 ? [{ store, change }] : [];
  });
}

/** @throws Problems with all that the stores would not take, before anything is changed */
export async function refuseUnstorable(puts: readonly Put[]): Promise<void> {
  throwAll((await Promise.all(puts.map(({ store, change }) => store.refusals(change)))).flat());
}

/** Changes the stores, a step each. */
export async function putAll(puts: readonly Put[], change: Context['change']): Promise<void> {
  for (const { store, change: what } of puts) {
    const names = [...what.set.keys()].map((name) => `store ${name}`);
    const all = [...names, ...what.remove.map((name) => `remove ${name}`)];
    await change(`write ${store.uri}`, all, () => store.write(what));
  }
}

/** Says what is in the store alone, and of what the file has that is no secret. */
export function tellLeft(report: Report, { onlyStored, noSecrets }: Record<string, readonly string[]>): void {
  if (onlyStored?.length)
    report.info(`only stored, and kept (--prune removes them): ${onlyStored.join(', ')}`);
  if (noSecrets?.length)
    report.info(`not pushed, since the template does not ask the store for them: ${noSecrets.join(', ')}`);
}

/** @throws Problems naming what would be stored empty, which fetch-secrets would refuse */
export function refuseEmptyValues(values: ReadonlyMap<string, string>, path: string): void {
  const empty = [...values].filter(([, value]) => value === '').map(([name]) => name);
  throwAll(
    empty.map(
      (name) => new Failure(`${path}: ${name} is empty`, { next: 'give it a value, or remove the line' }),
    ),
  );
}
