import type { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import type { ECS } from '@aws-sdk/client-ecs';
import type { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { SSMClient } from '@aws-sdk/client-ssm';
import type { Environment } from './env-file.ts';
import { Failure, messageOf, throwAll } from './failure.ts';
import type { Secret } from './secret.ts';
import { optionalSetting } from './settings.ts';

/** The settings of every script that speaks to AWS; the names are AWS's own. */
export const awsSettings = {
  AWS_REGION: optionalSetting('AWS_REGION', {
    about: 'the region; instance roles do not imply one',
    example: 'eu-north-1',
    type: (z) => z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'is not the name of a region'),
  }),
  AWS_PROFILE: optionalSetting('AWS_PROFILE', {
    about: 'the profile of ~/.aws/config that credentials come from',
    example: 'bloaty',
    type: (z) => z.string(),
  }),
  AWS_ENDPOINT_URL: optionalSetting('AWS_ENDPOINT_URL', {
    about: 'another address than AWS, for S3-compatible stores and for tests',
    example: 'https://fra1.digitaloceanspaces.com',
    type: (z) => z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }),
  }),
};

/**
 * Puts what an env file says about AWS where the SDK and the programs that we start look for it. The one place
 * that writes the process's environment: the SDK has its own chain of credentials, and we want all of it.
 * @throws Problems naming those that are refused and no setting, which is checked with the others
 */
export function adoptAwsEnvironment({ raw, refused }: Environment): void {
  for (const [name, value] of Object.entries(raw)) {
    if (name.startsWith('AWS_') && value !== '' && !refused.has(name)) process.env[name] ??= value;
  }
  const others = [...refused].filter(
    ([name]) => name.startsWith('AWS_') && !Object.hasOwn(awsSettings, name),
  );
  throwAll(others.map(([, refusal]) => refusal));
}

const TRIES = 5;
const CONNECT_TIMEOUT_MS = 5_000;
/** A store that accepts and then says nothing is given up after this long, each try. */
const SILENCE_TIMEOUT_MS = 30_000;

export interface S3Access {
  region: string | undefined;
  endpoint?: string | undefined;
  credentials?: { accessKeyId: string; secretAccessKey: Secret } | undefined;
  /** Requests in flight at the most. */
  sockets?: number;
}

/** An S3 client that retries what can be retried and gives up on silence. */
export async function s3Client({ region, endpoint, credentials, sockets = 32 }: S3Access): Promise<S3Client> {
  const { S3Client } = await import('@aws-sdk/client-s3');
  const config: S3ClientConfig = await patience(region ?? 'us-east-1', sockets);
  const custom = endpoint ?? process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL;
  if (custom) Object.assign(config, { endpoint: custom, forcePathStyle: true });
  if (credentials) {
    const { accessKeyId, secretAccessKey } = credentials;
    config.credentials = { accessKeyId, secretAccessKey: secretAccessKey.reveal() };
  }
  return new S3Client(config);
}

/** A client of Secrets Manager, as patient as that of S3. */
export async function secretsManagerClient(region: string | undefined): Promise<SecretsManagerClient> {
  const { SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
  return new SecretsManagerClient(await patience(region));
}

/** A client of Systems Manager: Parameter Store and Run Command. */
export async function ssmClient(region: string | undefined): Promise<SSMClient> {
  const { SSMClient } = await import('@aws-sdk/client-ssm');
  return new SSMClient(await patience(region));
}

/** A client of the Elastic Container Service. */
export async function ecsClient(region: string | undefined): Promise<ECS> {
  const { ECS } = await import('@aws-sdk/client-ecs');
  return new ECS(await patience(region));
}

/** A client of load balancers and their target groups. */
export async function elbv2Client(region: string | undefined): Promise<ElasticLoadBalancingV2Client> {
  const { ElasticLoadBalancingV2Client } = await import('@aws-sdk/client-elastic-load-balancing-v2');
  return new ElasticLoadBalancingV2Client(await patience(region));
}

/** A client of CloudWatch's logs. */
export async function logsClient(region: string | undefined): Promise<CloudWatchLogsClient> {
  const { CloudWatchLogsClient } = await import('@aws-sdk/client-cloudwatch-logs');
  return new CloudWatchLogsClient(await patience(region));
}

/** How every client tries again, and when it gives up. */
async function patience(region: string | undefined, sockets = 8) {
  const [{ Agent: HttpAgent }, { Agent: HttpsAgent }] = await Promise.all([
    import('node:http'),
    import('node:https'),
  ]);
  const pool = { keepAlive: true, maxSockets: sockets };
  return {
    // Else the profile's, or an error: a secret that is looked for in another region is not found.
    ...(region === undefined ? {} : { region }),
    maxAttempts: Number(process.env.AWS_MAX_ATTEMPTS) || TRIES,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
      httpAgent: new HttpAgent(pool),
      httpsAgent: new HttpsAgent(pool),
    },
  };
}

/**
 * The client as a multipart upload is to use it: an interruption ends every request but the one that tidies up, and
 * the one that says what there is to tidy. (The `abort` of lib-storage's Upload waits for neither.)
 */
export async function interruptible(client: S3Client, abortSignal: AbortSignal): Promise<S3Client> {
  const { AbortMultipartUploadCommand, CreateMultipartUploadCommand } = await import('@aws-sdk/client-s3');
  const kept = [AbortMultipartUploadCommand, CreateMultipartUploadCommand];
  const send = (command: Parameters<S3Client['send']>[0]) =>
    client.send(command, kept.some((kind) => command instanceof kind) ? {} : { abortSignal });
  return Object.assign(Object.create(client) as S3Client, { send });
}

/**
 * Makes one line of what the SDK threw: which call, on what, and what to do about it. `call` is named as policies
 * name it (`ssm:GetParametersByPath`); without a service it is one of S3.
 */
export function awsFailure(error: unknown, call: string, on: string): Failure {
  const { name = 'Error', $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  const said = messageOf(error).replace(/[.]+$/, '');
  // A name that says nothing is left out, as is a message that only repeats it.
  const words = [name === 'Error' ? '' : `${name}${status ? ` (${status})` : ''}`, said === name ? '' : said];
  return new Failure(`${call.replace(/^.*:/, '')} ${on}: ${words.filter(Boolean).join(': ')}`, {
    next: /^Region is missing/.test(said) ? 'set AWS_REGION' : advice(name, status, call),
    cause: error,
  });
}

const WRONG_KEYS = [
  ...['SignatureDoesNotMatch', 'InvalidAccessKeyId', 'ExpiredToken', 'InvalidToken'],
  ...['UnrecognizedClientException', 'InvalidSignatureException', 'ExpiredTokenException'],
];

function advice(name: string, status: number | undefined, call: string): string {
  if (WRONG_KEYS.includes(name))
    return 'correct the keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE';
  if (status === 403 || name.startsWith('AccessDenied')) {
    if (call.includes(':')) return `use credentials that are allowed ${call}`;
    return `use credentials that are allowed s3:${call} (docs/backup.md lists who needs what)`;
  }
  if (name === 'NoSuchBucket') return 'create the bucket, or correct its name';
  if (name === 'CredentialsProviderError') return 'set AWS_PROFILE or keys, or give the host a role';
  if (name === 'PermanentRedirect' || status === 301) return "set AWS_REGION to the bucket's region";
  if (status && status >= 500) return 'the store is failing; run it again when it answers';
  return 'check AWS_ENDPOINT_URL and the network, then run it again';
}

/** Whether the SDK was refused for want of a permission. */
export function isRefused(error: unknown): boolean {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 403;
}
