import type { Host } from '../../host.ts';
import { ecrToken, loginCommand } from '../image/registry.ts';
import type { ImageReference } from '../image-reference.ts';

/** Who asks ECR for a token: this machine, with its own credentials. */
export interface Caller {
  region: string | undefined;
  signal: AbortSignal;
}

/**
 * Lets docker commands of the host read an image of ECR: with a login that we bring, good for twelve hours, in a folder
 * that is gone when `act` ends. Registries of others, and hosts with a credential helper, are left to the host's own.
 */
export async function asReader<T>(
  host: Host,
  image: ImageReference,
  { region, signal }: Caller,
  act: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  if (image.registry === undefined) return act({});
  let refused: unknown;
  const token = await ecrToken(image, region, signal).catch((error: unknown) => {
    refused = error;
    return undefined;
  });
  if (!token) return act({}).catch((error: unknown) => Promise.reject(refused ?? error));
  const folder = (await host.run({ argv: ['mktemp', '-d', '/tmp/opsbook-docker-XXXXXX'] })).trim();
  const env = { DOCKER_CONFIG: folder };
  try {
    await host.run(loginCommand(token.registry, token.user, env), token.password);
    return await act(env);
  } finally {
    await host.uninterrupted.run({ argv: ['rm', '-rf', folder] });
  }
}
