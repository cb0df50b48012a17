import { secretsManagerClient } from '../../aws.ts';
import { Failure } from '../../failure.ts';
import { Secret } from '../../secret.ts';
import type { Address } from './settings.ts';
import { type Change, call, type SecretStore, type Stored, tooLong } from './store.ts';

/** What a secret of AWS Secrets Manager holds at the most, in bytes. */
const SECRET_MAX = 65_536;

/** A secret of AWS Secrets Manager: one JSON object, a key for each name. */
export async function secretsManager(
  { name, uri }: Address,
  region: string | undefined,
): Promise<SecretStore> {
  const client = await secretsManagerClient(region);
  const sdk = await import('@aws-sdk/client-secrets-manager');

  const current = (): Promise<Record<string, unknown> | undefined> =>
    call('secretsmanager:GetSecretValue', uri, async () => {
      const command = new sdk.GetSecretValueCommand({ SecretId: name });
      const secret = await client.send(command).catch((error: unknown) => {
        if (error instanceof sdk.ResourceNotFoundException) return undefined;
        throw error;
      });
      return secret;
    }).then((secret) => secret && parseObject(uri, secret.SecretString));

  const changed = async ({ set, remove }: Change) => {
    const before = await current();
    const kept = Object.entries(before ?? {}).filter(([key]) => !remove.includes(key));
    const added = [...set].map(([key, value]) => [key, value.reveal()]);
    return { isNew: !before, text: JSON.stringify(Object.fromEntries([...kept, ...added])) };
  };

  return {
    uri,
    async read() {
      const object = await current();
      return object && sorted(object);
    },
    async refusals(change) {
      const size = Buffer.byteLength((await changed(change)).text);
      return size > SECRET_MAX ? [tooLong(uri, 'all of it together', size, SECRET_MAX)] : [];
    },
    async write(change) {
      const { isNew, text } = await changed(change);
      if (isNew) {
        const create = new sdk.CreateSecretCommand({ Name: name, SecretString: text });
        await call('secretsmanager:CreateSecret', uri, () => client.send(create));
      } else {
        const put = new sdk.PutSecretValueCommand({ SecretId: name, SecretString: text });
        await call('secretsmanager:PutSecretValue', uri, () => client.send(put));
      }
    },
  };
}

function parseObject(uri: string, text: string | undefined): Record<string, unknown> {
  const failure = (what: string) =>
    new Failure(`${uri}: ${what}, and has to be a JSON object of names and texts`, {
      next: 'correct it in Secrets Manager',
    });
  if (text === undefined) throw failure('is binary');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw failure('is no JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw failure(`is ${kindOf(value)}`);
  return value as Record<string, unknown>;
}

function sorted(object: Record<string, unknown>): Stored {
  const values = new Map<string, Secret>();
  const unfit = new Map<string, string>();
  for (const [name, value] of Object.entries(object)) {
    if (typeof value !== 'string') unfit.set(name, `is ${kindOf(value)}, and has to be a text`);
    else if (value === '') unfit.set(name, 'is empty');
    else values.set(name, new Secret(value));
  }
  return { values, unfit };
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
