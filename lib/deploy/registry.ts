import { awsFailure } from '../aws.ts';
import { Secret } from '../secret.ts';
import { type Command, cmd } from '../shell.ts';
import { ecrOf, type ImageReference } from './settings.ts';

/** A user and a password of ECR, which are good for twelve hours. */
interface Token {
  user: string;
  password: Secret;
  /** The registry that it is for. */
  registry: string;
}

/**
 * ECR's token for an image's registry; undefined when it is not one of ECR's. Where AWS has another address
 * than its own, ECR's registries have other names too: then it is the one that the token names.
 */
export async function ecrToken(
  image: ImageReference,
  region: string | undefined,
  signal: AbortSignal,
): Promise<Token | undefined> {
  const of = ecrOf(image);
  const elsewhere = process.env.AWS_ENDPOINT_URL_ECR ?? process.env.AWS_ENDPOINT_URL;
  if (!of && !elsewhere) return undefined;
  const { ECRClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr');
  const client = new ECRClient({ region: of?.region ?? region ?? 'us-east-1' });
  try {
    const { authorizationData: [data] = [] } = await client.send(new GetAuthorizationTokenCommand({}), {
      abortSignal: signal,
    });
    const registry = (data?.proxyEndpoint ?? '').replace(/^https?:\/\//, '');
    if (!of && registry !== image.registry) return undefined;
    const [user = '', password = ''] = Buffer.from(data?.authorizationToken ?? '', 'base64')
      .toString('utf8')
      .split(':');
    return { user, password: new Secret(password), registry: image.registry ?? registry };
  } catch (error) {
    signal.throwIfAborted();
    // Another service at that address may know nothing of ECR.
    if (!of) return undefined;
    throw awsFailure(error, 'ecr:GetAuthorizationToken', image.registry ?? '');
  }
}

/** `docker login`, with the password on its standard input. */
export const loginCommand = (
  registry: string,
  user: string,
  env: Readonly<Record<string, string>>,
): Command => ({ ...cmd`docker login --username ${user} --password-stdin ${registry}`, env });
