import { basename, dirname } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { appSettings, type Target, targetSettings } from './app.ts';
import { adoptAwsEnvironment } from './aws.ts';
import { type Command, cmd, show } from './command.ts';
import type { Context, Definition, Flag } from './definition.ts';
import { type Environment, maskSecretsOf, readEnvironment } from './env-file.ts';
import { checkAll, EXIT, Failure, framesOf, Interrupted, messageOf, Problems, sentence } from './failure.ts';
import { splitShared, typedHostOpsbook } from './host-opsbook.ts';
import { localHost } from './hosts.ts';
import { exclude } from './lock.ts';
import { chooseVoice, Report } from './output.ts';
import { mask, type Secret } from './secret.ts';
import { resolveSettings, type Setting, type Settings, type Values } from './settings.ts';
import type { Host, HostOptions } from './shell.ts';
import { request } from './web.ts';

const TIMEOUT_MS = 10_000;

/** A moment of a run that a watcher wants to know (the healthchecks.io convention). */
type Beat = 'start' | 'success' | 'fail';

/**
 * The address for a beat: `URL/start`, `URL` and `URL/fail`. `{script}` in the URL is replaced by the script's
 * name, so that each cron entry has a check of its own.
 */
export function heartbeatUrl(url: string, script: string, beat: Beat): URL {
  const address = new URL(url.replaceAll('{script}', script));
  if (beat !== 'success') address.pathname = `${address.pathname.replace(/\/$/, '')}/${beat}`;
  return address;
}

/** Whether a script pings `url`: without `{script}` in it there is one check, and that is the backup's. */
export function hasHeartbeat(url: string, script: string): boolean {
  return url.includes('{script}') || script === 'backup';
}

/** Pings the heartbeat; resolves to what went wrong, if anything: a watcher that is down stops no backup. */
export function beat(
  url: Secret,
  script: string,
  moment: Beat,
  body = '',
  timeoutMs = TIMEOUT_MS,
): Promise<string | undefined> {
  return post(heartbeatUrl(url.reveal(), script, moment), body, 'text/plain', timeoutMs);
}

/** Sends a failure's message to a Slack-compatible webhook; resolves to what went wrong, if anything. */
export function notify(url: Secret, text: string, timeoutMs = TIMEOUT_MS): Promise<string | undefined> {
  return post(new URL(url.reveal()), JSON.stringify({ text }), 'application/json', timeoutMs);
}

async function post(url: URL, body: string, type: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const response = await request(url, {
      method: 'POST',
      body,
      headers: { 'content-type': type },
      signal: AbortSignal.timeout(timeoutMs),
    });
    await response.body?.cancel();
    return response.ok ? undefined : `${url.host} answered ${response.status}`;
  } catch (error) {
    return `${url.host}: ${messageOf((error as Error).cause ?? error)}`;
  }
}

/** Those who watch a run from afar: a heartbeat, and a webhook that hears of failures. */
export interface Watcher {
  started(): Promise<void>;
  ended(error: unknown): Promise<void>;
}

/** The watchers that the environment names; they are there even when another setting is wrong. */
export async function watch(script: string, environment: Environment, report: Report): Promise<Watcher> {
  const webhook = await unlessWrong(appSettings.NOTIFY_URL, environment);
  const heart = await unlessWrong(appSettings.HEARTBEAT_URL, environment);
  const pinged = heart && hasHeartbeat(heart.reveal(), script) ? heart : undefined;
  const heard = async (sent: Promise<string | undefined>, by: string) => {
    const problem = await sent;
    if (problem) report.warn(`${by} was not told: ${problem}`);
  };
  return {
    async started() {
      if (pinged) await heard(beat(pinged, script, 'start'), 'HEARTBEAT_URL');
    },
    async ended(error) {
      const text = error === undefined ? '' : mask(sentence(error));
      if (pinged)
        await heard(beat(pinged, script, error === undefined ? 'success' : 'fail', text), 'HEARTBEAT_URL');
      // Exit 2 at a terminal is a slip of the hand; from cron it is a broken installation.
      const slip = error instanceof Failure && error.exit === EXIT.usage && process.stdin.isTTY;
      if (webhook && error !== undefined && !slip) {
        await heard(
          notify(webhook, `${environment.raw.APP ?? 'opsbook'}: ${script} failed: ${text}`),
          'NOTIFY_URL',
        );
      }
    },
  };
}

/** The address of a watcher; what is wrong with it is told with all that is wrong with the settings. */
async function unlessWrong(
  setting: Setting<Secret, true>,
  { raw, refused }: Environment,
): Promise<Secret | undefined> {
  return (await resolveSettings({ setting }, raw, refused).catch(() => undefined))?.setting;
}

/**
 * Asks on the terminal, and resolves only to go on.
 * @throws Failure when the answer is not yes; with exit 2 when there is no terminal
 */
async function ask(question: string, signal: AbortSignal): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new Failure(`${question} Cannot ask for confirmation: no terminal`, {
      exit: EXIT.usage,
      next: 'pass --yes',
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // readline makes Ctrl-C its own event; it has to stay a signal.
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    // Ctrl-D rejects.
    const answer = await terminal.question(`${question} [y/N] `, { signal }).catch(() => '');
    signal.throwIfAborted();
    if (!/^y(es)?$/i.test(answer.trim())) throw new Failure('not confirmed: nothing was changed');
  } finally {
    terminal.close();
  }
}

/**
 * Gives the context the hosts of TARGET, each of which was seen to answer, in place of this machine.
 * @throws Failure with exit 2 when there are more than the script works on
 */
async function reach(
  { reaches = 'host' }: Definition<Settings, Record<string, Flag<unknown>>>,
  context: Context,
  onStart: HostOptions['onStart'],
): Promise<void> {
  const settings = context.settings as Context['settings'] & Values<typeof targetSettings>;
  if (reaches === 'hosts or service' && settings.TARGET[0]?.kind === 'ecs') return;
  const { openHosts } = await import('./hosts.ts');
  const options = { signal: context.signal, onStart };
  const { hosts, unreached, close } = await openHosts(settings, options, reaches === 'hosts that answer');
  context.defer(close);
  if (reaches === 'host' && hosts.length > 1)
    throw new Failure(`TARGET names ${hosts.length} hosts: ${hosts.map(({ target }) => target).join(', ')}`, {
      exit: EXIT.usage,
      next: 'this works on one at a time: name it with --target',
    });
  Object.assign(context, { host: hosts[0], hosts, unreached });
}

/**
 * Refuses to work on this machine where the app runs on another: what is here would pass for what is there.
 * @throws Failure with exit 2 that says how to run the same script there
 */
function refuseElsewhere(name: string, settings: object, uri = ''): void {
  const { TARGET: targets } = settings as { TARGET: readonly Target[] };
  if (targets.every(({ kind }) => kind === 'local')) return;
  const file = process.argv[1] ?? '';
  const { shared, own } = splitShared(process.argv.slice(2));
  const there = typedHostOpsbook(shared, `${basename(dirname(file))}/${basename(file, '.ts')}`, own);
  const next = targets.some(({ kind }) => kind === 'ecs')
    ? 'ECS has no host to run it on; to run it on this machine: --target local'
    : `run it there: ${there}; to run it on this machine all the same: --target local`;
  throw new Failure(`TARGET=${uri} is another machine, and ${name} works on the one that it is started on`, {
    exit: EXIT.usage,
    next,
  });
}

type AnyDefinition = Definition<Settings, Record<string, Flag<unknown>>>;

/** What commander made of the command line. */
export interface Line {
  envFile?: string[];
  verbose?: boolean;
  dryRun?: boolean;
  json?: boolean;
  yes?: boolean;
  target?: string;
  operands: string[];
  [flag: string]: unknown;
}

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/**
 * After a signal, what runs has this long to end before its releases are run all the same: a busy server takes its
 * time to drop the database that an interrupted restore has made.
 */
const GRACE_MS = 30_000;

/** Runs a script to its end and exits with its code: settings, lock, steps, releases, and the telling of it. */
export async function execute(name: string, definition: AnyDefinition, line: Line): Promise<never> {
  const report = new Report(await chooseVoice(name));
  const releases: Array<() => Promise<void> | void> = [];
  const interruption = new AbortController();
  for (const signal of Object.keys(SIGNALS) as Array<keyof typeof SIGNALS>) {
    process.on(signal, () => interruption.abort(new Interrupted(signal)));
  }
  // What nobody waited for would be written as it is, with what it quotes, and would leave everything as it stands.
  process.on('uncaughtException', (thrown) => interruption.abort(thrown));
  let watcher: Awaited<ReturnType<typeof watch>> | undefined;
  let error: unknown;
  try {
    const environment = await readEnvironment(line.envFile ?? []);
    maskSecretsOf(environment.raw, environment.composed);
    if (!line.dryRun) watcher = await watch(name, environment, report);
    if (typeof line.target === 'string') {
      environment.raw.TARGET = line.target;
      environment.refused.delete('TARGET');
    }
    const settings = await settingsOf(name, definition, environment);
    await watcher?.started();
    const onStart = line.verbose ? (command: Command) => report.info(`$ ${show(command)}`) : undefined;
    const host = localHost({ signal: interruption.signal, onStart });
    const context = makeContext(definition, line, settings, report, interruption.signal, releases, host);
    if ('TARGET' in definition.settings && !line[definition.hostless ?? ''])
      await reach(definition, context, onStart);
    if (definition.lock && !line.dryRun) await exclude(name, definition.lock, context);
    interruption.signal.throwIfAborted();
    await untilInterrupted(definition.run(context), interruption.signal, definition.graceMs ?? GRACE_MS);
  } catch (thrown) {
    error = interruption.signal.aborted ? interruption.signal.reason : thrown;
  }
  error = await release(releases, error);
  if (error) tell(report, name, error, line.verbose === true);
  await watcher?.ended(error);
  await Promise.all([process.stdout, process.stderr].map(drained));
  process.exit(exitCode(error));
}

/** @throws Problems naming what is wrong with them; Failure where the app runs on another machine than the script */
async function settingsOf(name: string, definition: AnyDefinition, environment: Environment) {
  // Only what is told to do without a host may overlook where the app runs.
  const staysHere = !('TARGET' in definition.settings) && !definition.targetless;
  const where = staysHere ? { TARGET: targetSettings.TARGET } : {};
  const { raw, refused } = environment;
  const resolving = resolveSettings({ ...appSettings, ...definition.settings, ...where }, raw, refused);
  await checkAll([() => resolving, () => adoptAwsEnvironment(environment)]);
  const settings = await resolving;
  if (staysHere) refuseElsewhere(name, settings, raw.TARGET);
  return settings;
}

function makeContext(
  definition: AnyDefinition,
  line: Line,
  settings: unknown,
  report: Report,
  signal: AbortSignal,
  releases: Array<() => Promise<void> | void>,
  host: Host,
): Context {
  const dryRun = line.dryRun === true;
  const flags = Object.fromEntries(Object.keys(definition.flags ?? {}).map((key) => [key, line[key]]));
  const context: Context = {
    settings: settings as Context['settings'],
    flags: flags as Context['flags'],
    operands: line.operands,
    envFiles: line.envFile ?? [],
    report,
    host,
    get $() {
      return context.host.$;
    },
    cmd,
    hosts: [host],
    unreached: [],
    signal,
    dryRun,
    json: line.json === true,
    async change(title, what, act) {
      if (!dryRun) return report.step(title, act);
      report.info(`would: ${title}`);
      for (const item of what) report.info(`  ${typeof item === 'string' ? item : show(item)}`);
      return undefined;
    },
    confirm: (question) => (line.yes || line.force || dryRun ? Promise.resolve() : ask(question, signal)),
    defer: (act) => void releases.push(act),
  };
  return context;
}

async function untilInterrupted(running: Promise<void>, signal: AbortSignal, graceMs: number): Promise<void> {
  const interrupted = new Promise<never>((_, reject) => {
    const late = () => setTimeout(() => reject(signal.reason), graceMs).unref();
    if (signal.aborted) late();
    else signal.addEventListener('abort', late, { once: true });
  });
  await Promise.race([running, interrupted]);
  signal.throwIfAborted();
}

/** Runs the releases, last come first; a failing one does not stop the others. */
async function release(releases: Array<() => Promise<void> | void>, error: unknown): Promise<unknown> {
  let first = error;
  for (const act of releases.reverse()) {
    try {
      await act();
    } catch (thrown) {
      first ??= thrown;
    }
  }
  return first;
}

function tell(report: Report, name: string, error: unknown, verbose: boolean): void {
  const failures = error instanceof Problems ? error.problems : [error];
  for (const failure of failures) report.error(sentence(failure));
  if (verbose && error instanceof Error) report.error(`${messageOf(error) || name}\n${framesOf(error)}`);
}

/** What was written to a pipe may not have left yet; the callback comes too when the reader has gone. */
const drained = (stream: NodeJS.WriteStream) =>
  new Promise<void>((resolve) => void stream.write('', () => resolve()));

function exitCode(error: unknown): number {
  if (error === undefined) return EXIT.done;
  if (error instanceof Interrupted) return 128 + SIGNALS[error.signal];
  return error instanceof Failure ? error.exit : EXIT.failed;
}
