import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { secretsManagerClient } from '../../aws.ts';
import { Failure } from '../../failure.ts';
import { membersOf, Secret } from '../../secret.ts';
import type { Address } from './settings.ts';
import { type Change, call, refuseChanged, type SecretStore, type Stored, tooLong } from './store.ts';

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
export async function secretsManager(
  { name, uri }: Address,
  region: string | undefined,
): Promise<SecretStore> {
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
