import type { Parameter } from '@aws-sdk/client-ssm';
import { ssmClient } from '../../aws.ts';
import { Failure } from '../../failure.ts';
import { Secret } from '../../secret.ts';
import type { Address } from './settings.ts';
import { call, changedMeanwhile, type SecretStore, tooLong } from './store.ts';

/** What a parameter holds at the most, in bytes, and how much of that is not charged for. */
const PARAMETER_MAX = 8192;
const STANDARD_MAX = 4096;
/** DeleteParameters takes as many names at once. */
const AT_ONCE = 10;

/** The parameters right below a path of AWS Systems Manager Parameter Store; what lies deeper is another path's. */
export async function parameterStore(
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
