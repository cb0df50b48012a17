import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';

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
  argv: ['docker', 'push', name],
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
  const name = command.argv.at(-1) ?? '';
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
    const told = JSON.parse(await host.run({ argv: [...argv], env })) as { Descriptor?: { digest: string } };
    return told.Descriptor?.digest;
  } catch (error) {
    if (error instanceof CommandFailure && error.code !== null) return undefined;
    throw error;
  }
}
