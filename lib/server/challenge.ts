import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { type Command, CommandFailure, cmd } from '../command.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import type { Problem } from './certificate.ts';
import type { CertificateSettings } from './certificate-settings.ts';

/** Where a certificate authority looks for the answer to its challenge (RFC 8555, 8.3). */
const PATH = '/.well-known/acme-challenge';
const TIMEOUT_MS = 10_000;

/** What was found where a certificate authority will look; without a problem it will find its answer. */
interface Challenge {
  name: string;
  addresses: string[];
  problem?: Problem;
}

const PLACE = 'umask 022; mkdir -p "$1" && cat > "$1/$2" || { rm -f "$1/$2"; exit 1; }';

/**
 * Asks for a file below the webroot at every address of every name, as the authority will: what is wrong is found
 * without it, which counts failed attempts. Redirects are not followed.
 */
export async function probe({
  settings: { DOMAIN, ACME_WEBROOT: webroot },
  host,
  signal,
}: Pick<Context, 'host' | 'signal'> & { settings: CertificateSettings }): Promise<Challenge[]> {
  const token = `opsbook-${randomBytes(8).toString('hex')}`;
  const directory = `${webroot}${PATH}`;
  await host.run({ ...cmd`sh -c ${PLACE} place ${directory} ${token}`, root: true }, token);
  try {
    return await Promise.all(DOMAIN.map((name) => probeName(name, token, webroot, signal)));
  } finally {
    await host.uninterrupted.run({ ...cmd`rm -f ${`${directory}/${token}`}`, root: true });
  }
}

async function probeName(
  name: string,
  token: string,
  webroot: string,
  signal: AbortSignal,
): Promise<Challenge> {
  let addresses: string[];
  try {
    addresses = (await lookup(name, { all: true })).map(({ address }) => address);
  } catch (error) {
    const found = `does not resolve (${(error as NodeJS.ErrnoException).code})`;
    const todo = `make a record for ${name} in DNS, and wait for it`;
    return { name, addresses: [], problem: { found, todo } };
  }
  const answers = await Promise.all(addresses.map((address) => ask(address, name, token, webroot, signal)));
  // From a machine without IPv6 nothing can be said of such an address.
  const known = answers.filter((answer) => answer !== 'unreachable');
  const [problem] =
    known.length > 0 ? known.filter((answer) => answer !== 'served') : [unreachable(addresses)];
  return { name, addresses, ...(problem ? { problem } : {}) };
}

const unreachable = (addresses: readonly string[]): Problem => ({
  found: `${addresses.join(', ')} cannot be reached from here`,
  todo: 'correct the record in DNS, or run this where the address can be reached',
});

type Answer = 'served' | 'unreachable' | Problem;

async function ask(
  address: string,
  name: string,
  token: string,
  webroot: string,
  signal: AbortSignal,
): Promise<Answer> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const { response, body } = await fetchFrom(address, name, `${PATH}/${token}`, limit);
    if (response.statusCode === 200 && body === token) return 'served';
    return misled(response, name, address, webroot);
  } catch (error) {
    signal.throwIfAborted();
    return unanswered((limit.aborted ? limit.reason : error) as NodeJS.ErrnoException, address);
  }
}

/** A request to one address: `fetch` would choose among them, and name the host after its URL. */
async function fetchFrom(address: string, name: string, path: string, signal: AbortSignal) {
  const request = get({ host: address, path, headers: { host: name }, agent: false, signal });
  // One that comes after the response is that of the response as well.
  request.on('error', () => {});
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 1000) break;
  }
  return { response, body };
}

function misled(
  { statusCode = 0, headers }: IncomingMessage,
  name: string,
  address: string,
  webroot: string,
): Problem {
  if (statusCode >= 300 && statusCode < 400)
    return {
      found: `http://${name}${PATH}/ is redirected to ${headers.location} (${statusCode}, ${address})`,
      todo: `serve ${PATH}/ from ${webroot} before the redirect to https`,
    };
  return {
    found: `http://${name}${PATH}/ does not serve ${webroot} (${statusCode}, ${address})`,
    todo: `mount ${webroot} in the proxy and serve ${PATH}/ from it; if ${address} is another host, correct the DNS`,
  };
}

function unanswered({ code, name, message }: NodeJS.ErrnoException, address: string): Answer {
  if (/^(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL)$/.test(code ?? '')) return 'unreachable';
  const todo = 'start the proxy, and let it listen on port 80';
  if (code === 'ECONNREFUSED') return { found: `nothing listens on port 80 of ${address}`, todo };
  if (code === 'ETIMEDOUT' || name === 'TimeoutError') {
    const open = 'open port 80 in the firewall and security group';
    return { found: `port 80 of ${address} does not answer`, todo: open };
  }
  return { found: `port 80 of ${address}: ${message}`, todo: "check the proxy's log" };
}

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

/** The command by which {@link serveWebroot} starts its web server. */
export const webserver = (webroot: string): Command => ({
  ...cmd`sh -c ${SERVE} serve ${webroot}`,
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
  const end = cmd`sh -c ${'kill "$1" 2>/dev/null || true'} end ${server.trim()}`;
  return async () => void (await host.uninterrupted.run({ ...end, root: true }));
}

function taken(error: unknown): unknown {
  if (!(error instanceof CommandFailure) || !/address already in use/i.test(error.stderr)) return error;
  return new Failure('something that is not the proxy listens on port 80', {
    next: "see what has it, and stop it: ss -ltnp 'sport = :80'; what a killed run left there ends after ten minutes",
    cause: error,
  });
}
