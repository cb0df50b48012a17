import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { appCommandSettings, composeSettings } from '../app.ts';
import { type Compose, compose, parseListing } from '../compose.ts';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, Problems } from '../failure.ts';
import { duration, table } from '../format.ts';
import { hostOpsbook, opsbookFailure, opsbookSettings, type Places } from '../host-opsbook.ts';
import { onEach } from '../hosts.ts';
import { mask, Secret } from '../secret.ts';
import { settingFamily, type Values } from '../settings.ts';
import { type Command, cmd, type Host, show } from '../shell.ts';
import type { FanOut, Hear, Outcome } from '../ssm.ts';
import { targetSettings } from '../target.ts';

const LINE_END = 0x0a;
/** Compose clears the terminal's line before the first of a log, also where there is no terminal (2.26). */
const CLEARED = '\x1b[2K';

/** Hears each line that a host wrote, with its end if it has one. */
type HearLine = (host: Host, stream: 'out' | 'err', line: Buffer) => void;

/**
 * Makes lines of what hosts write, so that theirs do not mix; those that match, where only such are wanted.
 * @returns what hears it, and what is to be called at the end, for a last line without an end
 */
function lines(
  { grep, ofLogs }: { grep: RegExp | undefined; ofLogs: boolean },
  hearLine: HearLine,
): { hear: Hear; end: () => void } {
  const held = new Map<string, { host: Host; stream: 'out' | 'err'; rest: Buffer }>();
  const tell: HearLine = (host, stream, whole) => {
    const line = ofLogs && whole.indexOf(CLEARED) === 0 ? whole.subarray(CLEARED.length) : whole;
    if (!grep || stream === 'err' || grep.test(line.toString())) hearLine(host, stream, line);
  };
  const hear: Hear = (host, stream, chunk) => {
    const key = `${stream} ${host.target}`;
    let rest = Buffer.concat([held.get(key)?.rest ?? Buffer.alloc(0), chunk]);
    for (let end = rest.indexOf(LINE_END); end >= 0; end = rest.indexOf(LINE_END)) {
      tell(host, stream, rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    held.set(key, { host, stream, rest });
  };
  const end = () => {
    for (const { host, stream, rest } of held.values()) if (rest.length > 0) tell(host, stream, rest);
  };
  return { hear, end };
}

/** Writes a line where its host did, masked if it is text; what is none stays as it is, byte for byte. */
function writeLine(prefix: (host: Host) => string): HearLine {
  return (host, stream, line) => {
    const to = stream === 'out' ? process.stdout : process.stderr;
    to.write(prefix(host));
    to.write(isUtf8(line) ? mask(line.toString()) : line);
  };
}

/** As strong as a key of 128 bits, and typed without trouble. */
const BYTES = 18;

interface Password {
  secret: Secret;
  /** Nobody has seen it yet. */
  generated: boolean;
}

/**
 * The password of a new user: asked for without an echo, generated where the answer is empty, or read from standard
 * input where it is said to be there. It is never an argument: those are seen in process lists and histories.
 * @throws Failure with exit 2 when there is nobody to ask
 */
async function passwordFor(user: string, fromInput: boolean, signal: AbortSignal): Promise<Password> {
  if (fromInput) {
    const line = await firstLine(signal);
    if (line === '')
      throw new Failure('standard input holds no password', {
        exit: EXIT.usage,
        next: 'write one line to it',
      });
    return { secret: new Secret(line), generated: false };
  }
  if (!process.stdin.isTTY)
    throw new Failure(`there is no terminal to ask for the password of ${user} on`, {
      exit: EXIT.usage,
      next: 'say --password-stdin, and write it to standard input',
    });
  const typed = await askSilently(`password of ${user} (empty: one is generated): `, signal);
  if (typed !== '') return { secret: new Secret(typed), generated: false };
  return { secret: new Secret(randomBytes(BYTES).toString('base64url')), generated: true };
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

/** What restarts and is not healthy by then is not going to be. */
const PATIENCE_MS = 120_000;
const POLL_MS = 500;

/** Restarts services host by host, each seen healthy before the next, so that a fleet goes on answering. */
async function restart(context: RemoteContext, command: Command, services: readonly string[]): Promise<void> {
  const { hosts, report, settings, signal } = context;
  for (const host of hosts) {
    const title = `restart ${services.join(', ') || 'all services'} on ${host.name}`;
    await report.step(title, async () => {
      await host.run(command);
      const list = compose(host, settings.APP_DIR, settings).command(
        'ps',
        '--all',
        '--format',
        'json',
        ...services,
      );
      await untilWell(host, list, signal);
    });
  }
}

async function untilWell(host: Host, list: Command, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
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

/** What `remote` reads. */
export const remoteSettings = {
  ...targetSettings,
  ...composeSettings,
  ...appCommandSettings,
  ...opsbookSettings,
  REMOTE: settingFamily('REMOTE_', {
    about:
      "a command line of the app's own that `remote <name>` runs in its container; operands are appended",
    example: 'python -m app.invites create',
  }),
};

/** Tells of every container of the app, on every host. */
async function status({ hosts, report, json }: RemoteContext, command: Command): Promise<void> {
  const listing = hosts.map(async (host) =>
    parseListing(await host.run(command)).map((container) => ({ host: host.name, ...container })),
  );
  const settled = await Promise.allSettled(listing);
  const rows = settled.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const told = rows.map(({ host, Service, State, Health, Status, Image }) => ({
    ...{ host, service: Service, state: State, health: Health || '-', status: Status, image: Image },
  }));
  if (json) report.data(JSON.stringify(told));
  else
    report.data(
      table([
        ['host', 'service', 'state', 'status'],
        ...told.map((r) => [r.host, r.service, r.state, r.status]),
      ]),
    );
  await checkAll(listing.map((one) => () => one));
}

/** What an operator asked of the app. */
export interface Request {
  verb: string;
  words: readonly string[];
  service: string;
  tail?: number | undefined;
  since?: string | undefined;
  follow?: boolean | undefined;
}

interface Named {
  /** Where the host's own opsbook and the app are. */
  places: Places;
  /** The app's own commands, by the name that they are called by. */
  own: Readonly<Record<string, string>>;
  migrate?: string | undefined;
}

/** As many lines of a log as a person looks at, where nobody says how many. */
const TAIL = 100;

/**
 * The command that a request comes to. Words stay words: each is an argument of its own, whatever is in it.
 * @throws Failure with exit 2 for a verb that there is none of, or one with too few words
 */
export function commandOf(request: Request, compose: Compose, named: Named): Command {
  const { verb, words, service } = request;
  const inApp = (...argv: string[]) => compose.command('exec', '-T', service, ...argv);
  switch (verb) {
    case 'logs':
      return logs(request, compose);
    case 'restart':
      return compose.command('restart', ...words);
    case 'status':
      return compose.command('ps', '--all', '--format', 'json');
    case 'exec':
      return inApp(...line(verb, words));
    case 'shell': {
      const [first, ...rest] = line(verb, words);
      return { ...cmd`${first} ${rest}`, root: true };
    }
    case 'opsbook': {
      const [script = '', ...rest] = words;
      if (/^[a-z]+\/[a-z0-9-]+$/.test(script)) return hostOpsbook(named.places, script, rest);
      throw new Failure(`opsbook needs a script, as area/name${script && `: not "${script}"`}`, {
        exit: EXIT.usage,
        next: 'say which: remote opsbook backup/list',
      });
    }
    case 'migrate':
      if (named.migrate === undefined) throw unset('MIGRATE_COMMAND', 'alembic upgrade head');
      return inApp(...appended(named.migrate, words));
  }
  const own = named.own[verb];
  if (own === undefined)
    throw unset(`REMOTE_${verb.toUpperCase().replaceAll('-', '_')}`, 'python -m app.command');
  return inApp(...appended(own, words));
}

function logs({ words, tail, since, follow }: Request, compose: Compose): Command {
  const lines = tail ?? (since === undefined ? TAIL : 'all');
  return compose.command(
    ...['--ansi', 'never', 'logs', '--no-color', '--timestamps', '--tail', String(lines)],
    ...(since === undefined ? [] : ['--since', since]),
    ...(follow ? ['--follow'] : []),
    ...words,
  );
}

/** A single word with blanks in it is a line for a shell; several words are a command as they stand. */
function line(verb: string, words: readonly string[]): [string, ...string[]] {
  const [first, ...rest] = words;
  if (first === undefined)
    throw new Failure(`${verb} needs a command`, {
      exit: EXIT.usage,
      next: `say which: remote ${verb} ls -l`,
    });
  return rest.length === 0 && /\s/.test(first) ? ['sh', '-c', first] : [first, ...rest];
}

/** A line of the settings with operands behind it; they are the line's "$@", and never read by a shell. */
const appended = (text: string, words: readonly string[]) => ['sh', '-c', `${text} "$@"`, 'sh', ...words];

const unset = (name: string, example: string) =>
  new Failure(`${name} is not set`, {
    exit: EXIT.usage,
    next: `set it, for example ${name}="${example}", or use exec`,
  });

export type RemoteContext = Pick<Context, 'hosts' | 'operands' | 'report' | 'signal' | 'dryRun' | 'json'> & {
  settings: Values<typeof remoteSettings> & { APP_DIR: string };
  flags: {
    service?: string | undefined;
    tail?: number | undefined;
    since?: string | undefined;
    follow?: boolean | undefined;
    grep?: RegExp | undefined;
    passwordStdin?: boolean | undefined;
  };
};

/** What looks at hosts, and what is done on each of them; all else concerns the app, and is done once. */
const LOOKS = ['logs', 'status'];
const ON_EACH = [...LOOKS, 'restart', 'exec', 'shell'];

/** Does what the operands say. @throws Failure that names each host on which it failed */
export async function remote(context: RemoteContext): Promise<void> {
  const { settings, flags, operands, hosts, report } = context;
  const [verb = '', ...words] = operands;
  const own = { own: settings.REMOTE, migrate: settings.MIGRATE_COMMAND, places: settings };
  const commandFor = (host: Host) =>
    commandOf(
      { verb, words, ...flags, service: flags.service ?? settings.APP_SERVICE },
      compose(host, settings.APP_DIR, settings),
      own,
    );
  const [first] = hosts;
  if (!first) return;
  const command = commandFor(first);
  const chosen = ON_EACH.includes(verb) ? hosts : [first];
  if (context.dryRun && !LOOKS.includes(verb)) {
    for (const { name } of chosen) report.info(`would run on ${name}: ${show(command)}`);
    return;
  }
  if (chosen.length < hosts.length)
    report.info(`on ${first.name}, the first of ${hosts.length} hosts: the app is one`);
  if (verb === 'status') return status(context, command);
  if (verb === 'restart') return restart(context, command, words);
  const password = verb === 'create-user' ? await newPassword(context, words) : undefined;
  await run(context, command, chosen, password?.secret.reveal());
  // Shown to the person who asked for it, once, and never where nobody sits.
  if (password?.generated) process.stderr.write(`password of ${words[0]}: ${password.secret.reveal()}\n`);
}

async function newPassword({ flags, signal }: RemoteContext, [user]: string[]) {
  if (user === undefined)
    throw new Failure('create-user needs an e-mail address', {
      exit: EXIT.usage,
      next: 'remote create-user me@example.org',
    });
  return passwordFor(user, flags.passwordStdin === true, signal);
}

async function run(
  context: RemoteContext,
  command: Command,
  hosts: readonly Host[],
  input?: string,
): Promise<void> {
  const { json, report, signal, flags } = context;
  const several = hosts.length > 1;
  const written = new Map(hosts.map(({ target }) => [target, { out: '', err: '' }]));
  const collect = (host: Host, stream: 'out' | 'err', line: Buffer) => {
    const of = written.get(host.target);
    if (of) of[stream] += line.toString();
  };
  const prefix = ({ name }: Host) => (several ? `${name} | ` : '');
  const { hear, end } = lines(
    { grep: flags.grep, ofLogs: context.operands[0] === 'logs' },
    json ? collect : writeLine(prefix),
  );
  // A single host shows what it writes at once; of many, SSM delivers all by one command, when they are done.
  const options: FanOut = { signal, live: flags.follow === true || !several, hear };
  if (input !== undefined) options.input = new Secret(`${input}\n`);
  const outcomes = await onEach(hosts, command, options);
  end();
  if (json) report.data(JSON.stringify(outcomes.map((outcome) => answer(outcome, written))));
  if (several) report.summary(summary(outcomes));
  refuseFailed(outcomes, context.operands);
}

function answer(
  { host: { name, target }, code, ms, failure }: Outcome,
  written: ReadonlyMap<string, { out: string; err: string }>,
) {
  const { out, err } = written.get(target) ?? {};
  return { host: name, target, ok: !failure, code, ms: Math.round(ms), stdout: out, stderr: err };
}

/** One row a host. */
function summary(outcomes: readonly Outcome[]): string {
  return table(
    [
      ['host', 'result', 'time'],
      ...outcomes.map(({ host, failure, code, ms }) => [
        host.name,
        failure ? (code === undefined ? 'failed' : `exit ${code}`) : 'ok',
        duration(ms),
      ]),
    ],
    [2],
  );
}

/** @throws what failed, each host's by itself; what opsbook itself failed with on a host, with its exit code */
function refuseFailed(outcomes: readonly Outcome[], [verb, script]: readonly string[]): void {
  const failures = outcomes.flatMap(({ failure, host }) => {
    if (!failure || verb !== 'opsbook') return failure ? [failure] : [];
    return [opsbookFailure(failure, `${script} on ${host.name}: `, 'read what it said above') as Failure];
  });
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new Problems(failures);
}
