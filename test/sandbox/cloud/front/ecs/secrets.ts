import type { Secret } from '@aws-sdk/client-ecs';
import type { AwsError } from '../errors.ts';
import { askMoto } from '../inside.ts';

/** What AWS says of a task whose start failed before its containers did: the start of `stoppedReason`. */
export class StartFailure extends Error {}

const PULL =
  'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed:';

/**
 * The value that a container gets for `valueFrom`: an ARN of Secrets Manager, with a key of its JSON and a version
 * perhaps, or a parameter of SSM by name or ARN. (That the execution role may read it is not looked at.)
 * @throws StartFailure as tasks stop with it
 */
export async function secretValue({ name = '', valueFrom = '' }: Secret): Promise<string> {
  try {
    if (valueFrom.startsWith('arn:aws:secretsmanager:')) return await fromSecretsManager(valueFrom);
    return await fromParameterStore(valueFrom);
  } catch (error) {
    if (error instanceof StartFailure) throw error;
    const { code, message } = error as AwsError;
    const from = valueFrom.includes(':secretsmanager:') ? 'secret from asm' : `secrets from ssm`;
    throw new StartFailure(
      `${PULL} unable to retrieve ${from}: service call has been retried 1 time(s): ${code}: ${message} (${name})`,
    );
  }
}

async function fromSecretsManager(valueFrom: string): Promise<string> {
  const parts = valueFrom.split(':');
  const [arn, key, stage, version] = [parts.slice(0, 7).join(':'), ...parts.slice(7)];
  const { SecretString = '' } = await askMoto<{ SecretString?: string }>(
    'secretsmanager',
    'secretsmanager.GetSecretValue',
    {
      SecretId: arn,
      ...(stage ? { VersionStage: stage } : {}),
      ...(version ? { VersionId: version } : {}),
    },
  );
  if (!key) return SecretString;
  const value = (JSON.parse(SecretString) as Record<string, unknown>)[key];
  if (value !== undefined) return String(value);
  throw new StartFailure(
    `${PULL} unable to retrieve secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not contain json key ${key}`,
  );
}

async function fromParameterStore(valueFrom: string): Promise<string> {
  const name = valueFrom.replace(/^arn:aws:ssm:[^:]*:[^:]*:parameter/, '');
  const { Parameters = [] } = await askMoto<{ Parameters?: { Value: string }[] }>(
    'ssm',
    'AmazonSSM.GetParameters',
    { Names: [name], WithDecryption: true },
  );
  if (Parameters[0]) return Parameters[0].Value;
  throw new StartFailure(
    `${PULL} unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: ${name}`,
  );
}
