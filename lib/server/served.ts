import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { type Compose, compose, parseListing } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import { count, table } from '../format.ts';
import { type Command, cmd, type Host } from '../shell.ts';
import { type Certificate, describe, describeRemaining, isLate } from './certbot.ts';
import type { CertificateSettings } from './certificate-settings.ts';

/** A directory of the host, or a volume, in a container. */
interface Mount {
  Type: string;
  Name?: string;
  Source: string;
  Destination: string;
}

/** What `docker inspect` tells of a container, as far as we ask. */
interface Inspected {
  Path: string;
  Args: string[];
  RestartCount: number;
  State: { Running: boolean; Restarting: boolean; StartedAt: string };
  Config: { Env: string[] | null };
  Mounts: Mount[];
}

/** The container that serves the certificate. */
export interface WebProxy {
  kind: 'nginx' | 'caddy';
  /** Docker runs it, or tries to again and again. */
  wanted: boolean;
  /** It runs, and not only until it finds again that it cannot. */
  steady: boolean;
  /** It was restarted a moment ago: whether it is steady shows soon. */
  fresh: boolean;
  mounts: Mount[];
  /** Where a Caddy keeps its certificates. */
  dataDirectory: string;
}

/** Restarted and younger than this, a container may be one that Docker will restart again: that is waited for. */
const STEADY_MS = 5000;
const POLL_MS = 500;

/** @returns undefined when the service has no container @throws Failure when Compose does not know the service */
export async function findProxy(host: Host, app: Compose, service: string): Promise<WebProxy | undefined> {
  // Asked first for its errors: of a wrong name, or of Docker.
  const running = await app.container(service);
  const name =
    running ?? parseListing(await host.run(app.command('ps', '--all', '--format', 'json', service)))[0]?.Name;
  if (!name) return undefined;
  // Counted, too: the clock of a host may be wrong.
  for (let waited = 0; ; waited += POLL_MS) {
    const text = await host.run(cmd`docker inspect --format ${'{{json .}}'} ${name}`);
    const found = proxyOf(JSON.parse(text) as Inspected, Date.now());
    if (!found.fresh || waited >= STEADY_MS) return found;
    await sleep(POLL_MS);
  }
}

/** What an inspected container is to us. */
export function proxyOf(
  { Path, Args, RestartCount, State, Config, Mounts }: Inspected,
  now: number,
): WebProxy {
  const program = [Path, ...Args].find((word) => /(^|\/)(nginx|caddy)$/.test(word)) ?? '';
  const age = now - Date.parse(State.StartedAt);
  const env = new Map((Config.Env ?? []).map((line) => line.split('=', 2) as [string, string]));
  return {
    kind: program.endsWith('caddy') ? 'caddy' : 'nginx',
    wanted: State.Running || State.Restarting,
    steady: State.Running && !State.Restarting,
    fresh: State.Running && !State.Restarting && RestartCount > 0 && age < STEADY_MS,
    mounts: Mounts,
    dataDirectory: `${env.get('XDG_DATA_HOME') ?? `${env.get('HOME') ?? '/root'}/.local/share`}/caddy`,
  };
}

export const reload = (app: Compose, service: string): Command =>
  // Without a terminal, as cron has none.
  app.command('exec', '--no-TTY', service, 'nginx', '-s', 'reload');

/** Whether `path` is `directory` or below it. */
export function within(path: string, directory: string): boolean {
  const root = directory.replace(/\/$/, '');
  return path === root || path.startsWith(`${root}/`);
}

const TIMEOUT_MS = 10_000;
/** A reload returns before the workers with the new certificate have taken over; a port that is closed stays so. */
const TAKES_OVER_MS = 10_000;
const OPENS_MS = 3000;

/** What a browser gets: a certificate and what is wrong with it, or no connection. */
export interface Served {
  certificate?: Certificate;
  problem?: { found: string; todo: string };
}

/** Connects as a browser does; trusts what this machine's Node trusts. */
export function served(name: string, signal: AbortSignal): Promise<Served> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: name, servername: name, port: 443, rejectUnauthorized: false });
    const interrupted = () => socket.destroy(signal.reason);
    signal.addEventListener('abort', interrupted, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', interrupted));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else resolve({ problem: noConnection(error) });
    });
    socket.once('secureConnect', () => {
      const leaf = socket.getPeerX509Certificate();
      const error = socket.authorizationError as unknown as string | undefined;
      socket.end();
      if (!leaf) return resolve({ problem: noConnection(new Error('no certificate')) });
      const certificate = describe(leaf, 1);
      resolve({ certificate, ...(error ? { problem: distrust(error, certificate) } : {}) });
    });
  });
}

function noConnection({ code, message }: NodeJS.ErrnoException): NonNullable<Served['problem']> {
  if (code === 'ENOTFOUND') return { found: 'does not resolve', todo: 'make a record for it in DNS' };
  const found = code === 'ECONNREFUSED' ? 'nothing listens on port 443' : `port 443: ${message}`;
  return { found, todo: 'start the proxy, and let it listen on port 443 with the certificate' };
}

function distrust(code: string, { names, issuer, until }: Certificate): NonNullable<Served['problem']> {
  const day = until.toISOString().slice(0, 10);
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return { found: `it expired on ${day}`, todo: 'run renew-certificates' };
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return {
        found: `it is for ${names.join(', ')}`,
        todo: 'correct DOMAIN and run issue-certificate, or let the proxy serve the other one',
      };
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return { found: 'its chain is incomplete', todo: 'let the proxy serve fullchain.pem, not cert.pem' };
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return { found: 'it is self-signed', todo: 'run issue-certificate' };
    default:
      return {
        found: `its issuer, ${issuer}, is not trusted here (${code})`,
        todo: 'if it is of a staging server, unset ACME_SERVER and run issue-certificate',
      };
  }
}

/** Waits until `name` is served with this certificate; resolves to what is served in the end. */
export async function awaitServed(
  name: string,
  { fingerprint }: Certificate,
  signal: AbortSignal,
): Promise<Served> {
  const started = Date.now();
  for (;;) {
    const now = await served(name, signal);
    const patience = now.certificate ? TAKES_OVER_MS : OPENS_MS;
    if (now.certificate?.fingerprint === fingerprint || Date.now() - started > patience) return now;
    await sleep(100, undefined, { signal });
  }
}

/** What all that is done with an app's certificates works on. */
export interface Site {
  host: Host;
  app: Compose;
  settings: CertificateSettings;
  signal: AbortSignal;
  now: Date;
}

interface Where {
  host: Host;
  settings: CertificateSettings & { APP_DIR: string };
  signal: AbortSignal;
}

export function siteOf({ host, settings, signal }: Where): Site {
  return { host, app: compose(host, settings.APP_DIR, settings), settings, signal, now: new Date() };
}

/** What the certificate of an app is called: its first name. */
export const certificateName = ({ DOMAIN: [name = ''] }: Pick<CertificateSettings, 'DOMAIN'>): string => name;

/** One thing that was looked at; `todo` is empty where nothing is wrong. */
export interface Row {
  name: string;
  ok: boolean;
  found: string;
  todo: string;
}

export const good = (name: string, found: string): Row => ({ name, ok: true, found, todo: '' });
export const bad = (name: string, found: string, todo: string): Row => ({ name, ok: false, found, todo });

/** What is left is judged by the whole: 20 days are late for a certificate of 90 days, and not for one of 45. */
export function lifetimeRow(name: string, certificate: Certificate, now: Date): Row {
  const days = Math.round((certificate.until.getTime() - certificate.from.getTime()) / 86_400_000);
  const found = `${describeRemaining(certificate, now)} of ${count(days, 'day')}`;
  return isLate(certificate, now)
    ? bad(name, found, 'run renew-certificates, and see why it did not')
    : good(name, found);
}

/** The rows as a table. */
export function describeRows(rows: readonly Row[]): string {
  const mark = (ok: boolean) => (ok ? '✓' : '✗');
  return table([
    ['', 'check', 'found', 'what to do'],
    ...rows.map(({ ok, name, found, todo }) => [mark(ok), name, found, todo]),
  ]);
}

/** @throws Failure with exit 3 when a row is not good */
export function refuseProblems(rows: readonly Row[]): void {
  const [first, ...more] = rows.filter(({ ok }) => !ok);
  if (!first) return;
  const others = more.length > 0 ? ` (and ${count(more.length, 'more problem')})` : '';
  throw new Failure(`${first.name}: ${first.found}${others}`, { exit: EXIT.problem, next: first.todo });
}

/** Caddy gets and renews its certificates itself; what can go wrong is that it loses them, or is not reached. */
export async function caddyRows({ settings, signal, now }: Site, proxy: WebProxy): Promise<Row[]> {
  const { PROXY_SERVICE: service, DOMAIN: names } = settings;
  const answers = await Promise.all(names.map((name) => served(name, signal)));
  return [
    good('certificate', `none is needed: ${service} is a Caddy, which gets and renews its own`),
    proxy.steady
      ? good('proxy', `${service} runs`)
      : bad('proxy', `${service} does not run`, `see: docker compose logs ${service}`),
    dataRow(proxy, service),
    ...names.flatMap((name, i) => servedRows(name, answers[i] as Served, now)),
  ];
}

/** A volume without a name of its own goes with its container. */
const ANONYMOUS = /^[0-9a-f]{64}$/;

function dataRow({ mounts, dataDirectory }: WebProxy, service: string): Row {
  const mount = mounts.find(({ Destination }) => within(dataDirectory, Destination));
  if (mount && !ANONYMOUS.test(mount.Name ?? ''))
    return good('data', `${dataDirectory} is in ${mount.Name ?? mount.Source}`);
  return bad(
    'data',
    `${dataDirectory} goes with the container: each new one asks for new certificates`,
    `mount a named volume there in ${service}; authorities limit how often they issue the same`,
  );
}

function servedRows(name: string, { certificate, problem }: Served, now: Date): Row[] {
  const row = `served by ${name}`;
  if (!certificate || problem) return [bad(row, problem?.found ?? 'nothing', problem?.todo ?? '')];
  return [lifetimeRow(row, certificate, now)];
}
