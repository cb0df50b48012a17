import type { SSMClient } from '@aws-sdk/client-ssm';
import { awsFailure } from '../../aws-failure.ts';

/** What a standard parameter holds, in characters. */
const PARAMETER_MAX = 4096;
/** DeleteParameters takes as many names at once. */
const AT_ONCE = 10;

/**
 * Stores a text as encrypted parameters below `path`, which the instance's role may read; an instance has no other
 * place to take a secret from that is not kept in SSM's history.
 */
export async function store(client: SSMClient, path: string, text: string): Promise<string[]> {
  const { PutParameterCommand } = await import('@aws-sdk/client-ssm');
  const encoded = Buffer.from(text).toString('base64');
  const names: string[] = [];
  try {
    for (let from = 0; from < encoded.length; from += PARAMETER_MAX) {
      const name = `${path}/${String(names.length).padStart(4, '0')}`;
      const Value = encoded.slice(from, from + PARAMETER_MAX);
      names.push(name);
      await client.send(new PutParameterCommand({ Name: name, Value, Type: 'SecureString' }));
    }
  } catch (error) {
    await forget(client, names).catch(() => {});
    throw awsFailure(error, 'ssm:PutParameter', path);
  }
  return names;
}

export async function forget(client: SSMClient, names: readonly string[]): Promise<void> {
  const { DeleteParametersCommand } = await import('@aws-sdk/client-ssm');
  for (let i = 0; i < names.length; i += AT_ONCE)
    await client.send(new DeleteParametersCommand({ Names: names.slice(i, i + AT_ONCE) }));
}
