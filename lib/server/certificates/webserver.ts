import type { Command } from '../../command.ts';
import { CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';

/** certbot itself is Python, so that it is there. */
export const webserver = (webroot: string): Command => ({
  argv: ['python3', '-u', '-m', 'http.server', '80', '--directory', webroot],
  root: true,
});

/**
 * Serves the webroot on port 80 in the place of a proxy that does not run yet: the very first certificate is then
 * got by webroot like all that follow. certbot's own standalone mode would be saved as the way of renewal, and fail
 * as soon as the proxy has the port.
 * @returns what ends it @throws Failure when something else has the port
 */
export async function serveWebroot(host: Host, webroot: string): Promise<() => Promise<void>> {
  const running = host.start(webserver(webroot));
  running.stdin.end();
  const ready = new Promise<void>((resolve) => running.stdout.once('data', () => resolve()));
  await Promise.race([ready, running.done.catch((error: unknown) => Promise.reject(taken(error)))]);
  return async () => {
    running.kill();
    await running.done.catch(() => {});
  };
}

function taken(error: unknown): unknown {
  if (!(error instanceof CommandFailure) || !/address already in use/i.test(error.stderr)) return error;
  return new Failure('something that is not the proxy listens on port 80', {
    next: "see what has it, and stop it: ss -ltnp 'sport = :80'",
    cause: error,
  });
}
