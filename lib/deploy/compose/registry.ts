import { CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';

/** An image for one platform, as `docker manifest inspect --verbose` tells of it. */
interface Manifest {
  Descriptor: { digest: string; platform?: { os: string; architecture: string } };
  SchemaV2Manifest?: { layers?: Array<{ size: number }> };
  OCIManifest?: { layers?: Array<{ size: number }> };
}

/** What a registry has under a name. @throws Failure when it has nothing, or may not be read */
export async function manifestsOf(
  host: Host,
  reference: string,
  insecure: boolean,
  env: Readonly<Record<string, string>>,
): Promise<Manifest[]> {
  const flags = insecure ? ['--insecure'] : [];
  try {
    const text = await host.run({
      argv: ['docker', 'manifest', 'inspect', '--verbose', ...flags, reference],
      env,
    });
    const manifests = JSON.parse(text) as Manifest | Manifest[];
    return Array.isArray(manifests) ? manifests : [manifests];
  } catch (error) {
    throw error instanceof CommandFailure ? registryFailure(error, reference) : error;
  }
}

/** What a registry's refusal is, and what to do about it. */
export function registryFailure(error: CommandFailure, reference: string): Failure {
  const failure = (what: string, next: string) => new Failure(`${reference} ${what}`, { next, cause: error });
  if (/no space left/i.test(error.stderr))
    return failure(
      'does not fit on the disk of the host',
      'make room, or take a larger disk; then run it again',
    );
  // The CLI says the same of a registry that wants a login.
  if (/no such manifest|manifest unknown|not found/i.test(error.stderr))
    return failure(
      'is not in its registry, or may not be read there',
      'push it, or log in on the host: docker login',
    );
  if (/unauthorized|denied|no basic auth|authentication required|forbidden/i.test(error.stderr))
    return failure(
      'may not be read: the host is not logged in to its registry',
      'log in on the host: docker login',
    );
  return failure(`cannot be looked up: ${error.words}`, 'see whether the host reaches the registry');
}
