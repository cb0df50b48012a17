import type { Parameter } from '@aws-sdk/client-ssm';
import { ssmClient } from '../../aws.ts';
import { Failure } from '../../failure.ts';
import { Secret } from '../../secret.ts';
import type { Address } from './settings.ts';
import { call, type SecretStore, tooLong } from './store.ts';

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

  return {
    uri,
    async read() {
      const found = await parameters();
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
      for (const [name, value] of set) {
        const Value = value.reveal();
        const advanced = Buffer.byteLength(Value) > STANDARD_MAX ? ({ Tier: 'Advanced' } as const) : {};
        const input = {
          Name: path + name,
          Value,
          Type: 'SecureString',
          Overwrite: true,
          ...advanced,
        } as const;
        await call('ssm:PutParameter', `${uri} ${name}`, () =>
          client.send(new sdk.PutParameterCommand(input)),
        );
      }
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
