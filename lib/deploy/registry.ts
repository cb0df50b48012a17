import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { awsFailure } from '../aws.ts';
import { Failure } from '../failure.ts';
import { Secret } from '../secret.ts';
import { type Command, CommandFailure, cmd, type Host, wordsOf } from '../shell.ts';
import { ecrOf, type ImageReference } from './settings.ts';

/** A user and a password of ECR, which are good for twelve hours. */
interface Token {
  user: string;
  password: Secret;
  /** The registry that it is for. */
  registry: string;
}

/**
 * ECR's token for an image's registry; undefined when that is none of ECR's. Where AWS has another address than its own,
 * ECR's registries have other names too: then it is the one that the token names.
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

/** Logins of one run: Docker keeps them in a folder that is this user's alone, and gone when the run ends. */
export interface Logins {
  /** Of every docker command that needs them. */
  readonly env: Readonly<Record<string, string>>;
  /** `docker login`, with the password on its standard input. */
  login(token: Token): Promise<void>;
  remove(): void;
}

export function makeLogins(host: Host): Logins {
  const folder = mkdtempSync(join(tmpdir(), 'opsbook-docker-'));
  const own = process.env.DOCKER_CONFIG ?? join(homedir(), '.docker');
  // What Docker has beside its logins: its plugins, and which engine it speaks to.
  for (const part of ['cli-plugins', 'contexts'])
    if (existsSync(join(own, part))) symlinkSync(join(own, part), join(folder, part), 'junction');
  writeFileSync(join(folder, 'config.json'), JSON.stringify(withoutStore(join(own, 'config.json'))), {
    mode: 0o600,
  });
  const env = { DOCKER_CONFIG: folder };
  return {
    env,
    async login({ user, password, registry }) {
      await host.run(loginCommand(registry, user, env), password);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export const loginCommand = (
  registry: string,
  user: string,
  env: Readonly<Record<string, string>>,
): Command => ({ ...cmd`docker login --username ${user} --password-stdin ${registry}`, env });

/** The user's own configuration, but for the store of its logins: ours stay in the folder. */
function withoutStore(file: string): Record<string, unknown> {
  if (!existsSync(file)) return {};
  const { credsStore: _, ...rest } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  return rest;
}

/** What ECR and other registries say, and what to do about it; the first that fits. */
const REFUSALS: ReadonlyArray<[RegExp, string, string]> = [
  [
    /token has expired|authorization token/i,
    'the login has expired',
    'run it again: what arrived is not sent again',
  ],
  [
    /immutable|cannot be overwritten/i,
    'the tag is another image already, and may not be moved',
    'release a higher version',
  ],
  [
    /name unknown|repository .* does not exist/i,
    'there is no such repository',
    'create it, or correct IMAGE',
  ],
  [
    /denied|unauthorized|no basic auth|forbidden|not authorized/i,
    'these credentials may not push',
    'allow ecr:InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload, PutImage; elsewhere: docker login',
  ],
  [
    /connection refused|no such host|timeout|EOF|reset/i,
    'the registry does not answer',
    'run it again: what arrived is not sent again',
  ],
];

export const pushCommand = (name: string, env: Command['env'] = {}): Command => ({
  ...cmd`docker push ${name}`,
  env,
});

/**
 * Pushes an image; a login that expires on the way is made once more.
 * @returns the digest that the registry gave it
 * @throws Failure that says what the registry refused
 */
export async function push(
  host: Host,
  command: Command,
  loginAgain: () => Promise<boolean>,
): Promise<string> {
  const name = wordsOf(command).at(-1) ?? '';
  try {
    return digestIn(await host.run(command), name);
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.code === null) throw error;
    if (!/expired|no basic auth|unauthorized|authentication required/i.test(error.stderr))
      throw refused(name, error);
  }
  await loginAgain();
  try {
    return digestIn(await host.run(command), name);
  } catch (error) {
    throw error instanceof CommandFailure && error.code !== null ? refused(name, error) : error;
  }
}

function digestIn(text: string, name: string): string {
  const digest = /digest: (sha256:[0-9a-f]{64})/.exec(text)?.[1];
  if (digest) return digest;
  throw new Failure(`docker push ${name} told no digest`, { next: 'look at what it says by hand' });
}

function refused(name: string, error: CommandFailure): Failure {
  const [, what, next] = REFUSALS.find(([pattern]) => pattern.test(error.stderr)) ?? [];
  return new Failure(`push of ${name} failed: ${what ?? error.words}`, {
    next: next ?? `try it by hand: docker push ${name}`,
    cause: error,
  });
}

/** The digest that a registry has under a name; undefined when it has none, or does not tell. */
export async function pushedDigest(
  host: Host,
  name: string,
  env: Command['env'] = {},
): Promise<string | undefined> {
  const insecure = /^(localhost|127\.)/.test(name) ? ['--insecure'] : [];
  const argv = ['docker', 'manifest', 'inspect', '--verbose', ...insecure, name] as const;
  try {
    const told = JSON.parse(await host.run({ ...cmd`${argv}`, env })) as { Descriptor?: { digest: string } };
    return told.Descriptor?.digest;
  } catch (error) {
    if (error instanceof CommandFailure && error.code !== null) return undefined;
    throw error;
  }
}
