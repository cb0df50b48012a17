import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, CommandFailure, failureOf } from '../command.ts';
import { parseListing } from '../compose.ts';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure } from '../failure.ts';
import { duration, table } from '../format.ts';
import { mask, Secret } from '../secret.ts';
import type { Host } from '../shell.ts';
import type { SsmHost } from '../ssm.ts';

interface RunOptions {
  /** The line that the command reads. */
  password?: Password | undefined;
  /** Show what is written while the command runs, though there are several hosts. */
  follow?: boolean | undefined;
  /** Show only the lines of stdout that match it. */
  grep?: RegExp | undefined;
  /** The command is `docker compose logs`. */
  isLogs: boolean;
}

/** Compose clears the terminal's line before the first of a log, also where there is no terminal (2.26). */
const CLEARED = '\x1b[2K';

/** Runs a command on hosts and shows what they write; of several, each line with its host, and a table at the end. */
export async function runOn(
  hosts: readonly Host[],
  command: Command,
  { json, report, signal }: Pick<Context, 'json' | 'report' | 'signal'>,
  { password, follow, grep, isLogs }: RunOptions,
): Promise<Outcome[]> {
  const several = hosts.length > 1;
  const written = new Map(hosts.map(({ target }) => [target, { out: '', err: '' }]));
  const lines = byLine((host, stream, whole) => {
    const line = isLogs && whole.indexOf(CLEARED) === 0 ? whole.subarray(CLEARED.length) : whole;
    if (grep && stream === 'out' && !grep.test(line.toString())) return;
    const texts = written.get(host.target);
    if (!json) writeLine(several ? `${host.name} | ` : '', stream, line);
    else if (texts) texts[stream] += line.toString();
  });
  // A single host shows what it writes at once; of many, SSM delivers all by one command, when they are done.
  const live = follow === true || !several;
  const input = password && new Secret(`${password.secret.reveal()}\n`);
  const outcomes = await onEach(hosts, command, { input, live, onOutput: lines.onOutput, signal });
  lines.end();
  if (json) {
    const answers = outcomes.map(({ host: { name, target }, code, ms, failure }) => {
      const { out, err } = written.get(target) ?? {};
      return { host: name, target, ok: !failure, code, ms: Math.round(ms), stdout: out, stderr: err };
    });
    report.data(JSON.stringify(answers));
  }
  if (several) report.summary(summary(outcomes));
  return outcomes;
}

/** Takes what a host writes. */
type OnOutput = (host: Host, stream: 'out' | 'err', bytes: Buffer) => void;

const LINE_END = 0x0a;

/**
 * Makes lines, each with its end, of what hosts write, so that theirs do not mix.
 * @returns what takes the output, and what is to be called at the end, for a last line without an end
 */
function byLine(onLine: OnOutput): { onOutput: OnOutput; end: () => void } {
  const held = new Map<string, { host: Host; stream: 'out' | 'err'; rest: Buffer }>();
  return {
    onOutput(host, stream, bytes) {
      const key = `${stream} ${host.target}`;
      let rest = Buffer.concat([held.get(key)?.rest ?? Buffer.alloc(0), bytes]);
      for (let end = rest.indexOf(LINE_END); end >= 0; end = rest.indexOf(LINE_END)) {
        onLine(host, stream, rest.subarray(0, end + 1));
        rest = rest.subarray(end + 1);
      }
      held.set(key, { host, stream, rest });
    },
    end() {
      for (const { host, stream, rest } of held.values()) if (rest.length > 0) onLine(host, stream, rest);
    },
  };
}

/** Writes a line where its host did, masked if it is text; anything else stays as it is, byte for byte. */
function writeLine(prefix: string, stream: 'out' | 'err', line: Buffer): void {
  const to = stream === 'out' ? process.stdout : process.stderr;
  to.write(prefix);
  to.write(isUtf8(line) ? mask(line.toString()) : line);
}

/** One row a host. */
function summary(outcomes: readonly Outcome[]): string {
  const result = ({ failure, code }: Outcome) =>
    failure ? (code === undefined ? 'failed' : `exit ${code}`) : 'ok';
  const rows = outcomes.map((outcome) => [outcome.host.name, result(outcome), duration(outcome.ms)]);
  return table([['host', 'result', 'time'], ...rows], [2]);
}

/** What became of a command on one of several hosts. */
export interface Outcome {
  host: Host;
  ms: number;
  /** Its exit code; absent where it did not come to one. */
  code?: number;
  failure?: Failure;
}

interface EachOptions {
  input?: Secret | undefined;
  onOutput: OnOutput;
  /** Pass on output while the command runs, at the cost of a command of its own for each instance of SSM. */
  live?: boolean;
  signal: AbortSignal;
}

/** This machine opens as many connections without trouble. */
const AT_ONCE = 50;

/** Runs a command on all hosts, in parallel with a bound, and to the end on each whatever becomes of the others. */
export async function onEach(
  hosts: readonly Host[],
  command: Command,
  options: EachOptions,
): Promise<Outcome[]> {
  const instances = hosts.filter(isInstance);
  if (!options.live && instances.length > 1 && instances.length === hosts.length)
    return onInstances(instances, command, options);
  const outcomes: Outcome[] = [];
  const waiting = hosts.entries();
  const work = async () => {
    for (const [i, host] of waiting) outcomes[i] = await onOne(host, command, options);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return outcomes;
}

const isInstance = (host: Host): host is SsmHost => host.target.startsWith('ssm:');

async function onOne(
  host: Host,
  command: Command,
  { input, onOutput, signal }: EachOptions,
): Promise<Outcome> {
  const started = performance.now();
  const running = host.start(command);
  const passing = (['out', 'err'] as const).map((stream) =>
    passed(stream === 'out' ? running.stdout : running.stderr, (bytes) => onOutput(host, stream, bytes)),
  );
  const ms = () => performance.now() - started;
  try {
    running.stdin.end(input?.reveal() ?? '');
    await running.done;
    await Promise.all(passing);
    return { host, ms: ms(), code: 0 };
  } catch (failure) {
    if (signal.aborted || !(failure instanceof Failure)) throw failure;
    const code = failure instanceof CommandFailure ? failure.code : null;
    return { host, ms: ms(), failure, ...(code === null ? {} : { code }) };
  }
}

/** Resolves when all of a stream was passed on. One that is closed before its end is judged by the command's exit code. */
async function passed(stream: Readable, take: (bytes: Buffer) => void): Promise<void> {
  stream.on('data', take);
  try {
    await finished(stream, { writable: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

async function onInstances(
  hosts: readonly SsmHost[],
  command: Command,
  { input, onOutput, signal }: EachOptions,
): Promise<Outcome[]> {
  const { runOnInstances } = await import('../ssm.ts');
  const outcomes = new Map<string, Outcome>();
  await runOnInstances(hosts, command, { input, signal }, (host, result, ms) => {
    if (result instanceof Failure) return outcomes.set(host.target, { host, ms, failure: result });
    const { code, out, err } = result;
    onOutput(host, 'out', out);
    onOutput(host, 'err', err);
    const failure = failureOf(command, { code, stderr: err.toString('utf8'), on: host.name });
    return outcomes.set(host.target, { host, ms, code, ...(failure ? { failure } : {}) });
  });
  const unknown = ({ name }: SsmHost) =>
    new Failure(`${name}: SSM returned nothing about the command`, {
      next: 'look at it: aws ssm list-command-invocations',
    });
  return hosts.map((host) => outcomes.get(host.target) ?? { host, ms: 0, failure: unknown(host) });
}

type OnHosts = Pick<Context, 'hosts' | 'json' | 'report' | 'signal'>;

/** Shows every container of the app, on every host. @throws Problems that name the hosts on which `list` failed */
export async function showStatus({ hosts, report, json }: OnHosts, list: Command): Promise<void> {
  const listing = hosts.map(async (host) =>
    parseListing(await host.run(list)).map(({ Service, State, Health, Status, Image }) => ({
      ...{ host: host.name, service: Service, state: State, health: Health || '-' },
      ...{ status: Status, image: Image },
    })),
  );
  const settled = await Promise.allSettled(listing);
  const all = settled.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const rows = all.map(({ host, service, state, status }) => [host, service, state, status]);
  report.data(json ? JSON.stringify(all) : table([['host', 'service', 'state', 'status'], ...rows]));
  await checkAll(listing.map((one) => () => one));
}

/** What restarts and is not healthy by then is not going to be. */
const HEALTHY_WITHIN_MS = 120_000;
const POLL_MS = 500;

/**
 * Restarts services host by host, each seen healthy before the next, so that a fleet goes on answering.
 * @param list the command that lists their containers, as JSON
 * @throws Failure for the host on which one does not become healthy
 */
export async function restartOneByOne(
  { hosts, report, signal }: OnHosts,
  restart: Command,
  list: Command,
  services: readonly string[],
): Promise<void> {
  for (const host of hosts)
    await report.step(`restart ${services.join(', ') || 'all services'} on ${host.name}`, async () => {
      await host.run(restart);
      await untilHealthy(host, list, signal);
    });
}

async function untilHealthy(host: Host, list: Command, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + HEALTHY_WITHIN_MS;
  for (;;) {
    const containers = parseListing(await host.run(list));
    // One that ended well had nothing more to do: an initialisation.
    const waiting = containers.filter(
      ({ State, Health, ExitCode }) =>
        (State !== 'running' || (Health && Health !== 'healthy')) && !(State === 'exited' && ExitCode === 0),
    );
    if (waiting.length === 0) return;
    if (Date.now() > deadline) {
      const states = waiting.map(({ Service, State, Health }) => `${Service} is ${Health || State}`);
      throw new Failure(`${host.name}: ${states.join(', ')}`, {
        next: `look at it: remote logs ${waiting[0]?.Service}`,
      });
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

interface Password {
  secret: Secret;
  /** Nobody has seen it yet. */
  generated: boolean;
}

/** As strong as a key of 128 bits, and typed without trouble. */
const PASSWORD_BYTES = 18;

/**
 * The password of a new user: asked for without an echo, generated where the answer is empty, or the first line of
 * standard input. It is never an argument: those are seen in process lists and histories.
 * @throws Failure with exit 2 without a user, or when there is nobody to ask
 */
export async function newPassword(
  user: string | undefined,
  fromInput: boolean,
  signal: AbortSignal,
): Promise<Password> {
  const refusal = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });
  if (user === undefined)
    throw refusal('create-user needs an e-mail address', 'remote create-user me@example.org');
  if (!fromInput && !process.stdin.isTTY)
    throw refusal(
      `cannot ask for the password of ${user}: no terminal`,
      'pass --password-stdin, and write it to standard input',
    );
  const typed = fromInput
    ? await firstLine(signal)
    : await askSilently(`password of ${user} (empty: one is generated): `, signal);
  if (typed !== '') return { secret: new Secret(typed), generated: false };
  if (fromInput) throw refusal('standard input holds no password', 'write one line to it');
  return { secret: new Secret(randomBytes(PASSWORD_BYTES).toString('base64url')), generated: true };
}

/** Whoever writes it may keep its end open: nothing behind the line is waited for. */
async function firstLine(signal: AbortSignal): Promise<string> {
  const lines = createInterface({ input: process.stdin, signal });
  try {
    for await (const line of lines) return line;
    signal.throwIfAborted();
    return '';
  } finally {
    lines.close();
  }
}

async function askSilently(question: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(question);
  // readline echoes to its output: this one swallows it.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output, terminal: true });
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    return await new Promise<string>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      terminal.once('close', () => reject(new Failure('no password was given: nothing was done')));
      terminal.question('', resolve);
    });
  } finally {
    process.stderr.write('\n');
    terminal.removeAllListeners('close').close();
  }
}
