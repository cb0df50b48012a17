import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';

/**
 * Starts a web server in a session of its own, and prints its process when it has the port. It ends by itself after
 * ten minutes, should nobody be left to end it. certbot is Python, so that there is one.
 */
const SERVE = `log=$(mktemp)
setsid timeout 600 python3 -u -m http.server 80 --directory "$1" </dev/null >"$log" 2>&1 &
until grep -q Serving "$log"; do
  kill -0 $! 2>/dev/null || { cat "$log" >&2; rm "$log"; exit 1; }
  sleep 0.1
done
rm "$log"
echo $!`;

export const webserver = (webroot: string): Command => ({
  argv: ['sh', '-c', SERVE, 'serve', webroot],
  root: true,
});

/**
 * Serves the webroot on port 80 in the place of a proxy that does not run yet: the very first certificate is then
 * got by webroot like all that follow. certbot's own standalone mode would be saved as the way of renewal, and fail
 * as soon as the proxy has the port.
 * @returns what ends it @throws Failure when something else has the port
 */
export async function serveWebroot(host: Host, webroot: string): Promise<() => Promise<void>> {
  const server = await host.run(webserver(webroot)).catch((error: unknown) => Promise.reject(taken(error)));
  // One that has ended by itself is no failure.
  const end = ['sh', '-c', 'kill "$1" 2>/dev/null || true', 'end', server.trim()] as const;
  return async () => void (await host.uninterrupted.run({ argv: end, root: true }));
}

function taken(error: unknown): unknown {
  if (!(error instanceof CommandFailure) || !/address already in use/i.test(error.stderr)) return error;
  return new Failure('something that is not the proxy listens on port 80', {
    next: "see what has it, and stop it: ss -ltnp 'sport = :80'; what a killed run left there ends after ten minutes",
    cause: error,
  });
}
