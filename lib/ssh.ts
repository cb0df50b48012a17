import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { type Command, CommandFailure, cmd, programOf, quote, secretsOf, shellText } from './command.ts';
import { Failure } from './failure.ts';
import { mask } from './secret.ts';
import {
  type Child,
  type Host,
  type HostOptions,
  launch,
  type Running,
  runToEnd,
  type Spawn,
  shellOf,
  spawn,
} from './shell.ts';

/** What the other side says of a command, apart from what the command says. */
export interface Asides {
  /** The process group to kill; absent when the command did not begin. */
  group?: string;
  /** The exit code; absent when the connection ended before the command did. */
  exit?: number;
  /** What came on stdout before the command began: the last words of a login shell that did not run it. */
  before: string;
  /** Pass the command's own output on. */
  stdout: Transform;
  stderr: Transform;
}

/** Written to stdout where the command's own output begins: what profile files print comes before it. */
const BEGIN = '\x1eopsbook begin\n';
const ASIDE = /\x1eopsbook (group|exit) (\d+)\n/g;
const LONGEST = 40;
/** So much is kept of what comes before a command's output, in bytes. */
const KEPT = 4_000;

/**
 * Takes our own lines, which begin with a record separator, out of a command's output, and all that comes before
 * them: it is not the command's.
 */
export function asides(): Asides {
  const heard: Asides = {
    before: '',
    stdout: afterBegin((text) => (heard.before = text)),
    stderr: withoutAsides((what, value) => {
      if (what === 'group') heard.group = value;
      else heard.exit = Number(value);
    }),
  };
  return heard;
}

function afterBegin(keep: (before: string) => void): Transform {
  let before: Buffer | undefined = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (!before) return done(null, chunk);
      before = Buffer.concat([before, chunk]);
      const at = before.indexOf(BEGIN);
      if (at < 0) {
        before = before.subarray(-KEPT);
        return done();
      }
      const own = before.subarray(at + BEGIN.length);
      before = undefined;
      return own.length > 0 ? done(null, own) : done();
    },
    flush(done) {
      if (before) keep(before.toString('utf8'));
      done();
    },
  });
}

function withoutAsides(hear: (what: string, value: string) => void): Transform {
  let held = '';
  let begun = false;
  // Latin-1 keeps each byte what it is, whatever alphabet the command writes.
  const push = (text: string) => void filter.push(Buffer.from(text, 'latin1'));
  const filter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      let text = held + chunk.toString('latin1');
      const first = text.search(ASIDE);
      if (!begun && first < 0) {
        held = text.slice(-KEPT);
        return done();
      }
      if (!begun) text = text.slice(first);
      begun = true;
      text = text.replace(ASIDE, (_, what: string, value: string) => {
        hear(what, value);
        return '';
      });
      const mark = text.lastIndexOf('\x1e');
      const whole = mark < 0 || text.length - mark > LONGEST || text.includes('\n', mark);
      held = whole ? '' : text.slice(mark);
      push(whole ? text : text.slice(0, mark));
      done();
    },
    // What ssh itself says, where no command began.
    flush(done) {
      push(held);
      done();
    },
  });
  return filter;
}

/** What ssh says, what it means, and what to do about it; the first that fits. */
const CAUSES: ReadonlyArray<[RegExp, string, (name: string) => string]> = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    'its host key differs from the known one',
    (name) =>
      `find out why before you go on; if the host was replaced: ssh-keygen -R ${bare(name)}, then add its new key`,
  ],
  [
    /Host key verification failed|No .* host key is known/,
    'its host key is not known here',
    (name) =>
      `compare its fingerprint with the provider's, then: ssh-keyscan ${bare(name)} >> ~/.ssh/known_hosts`,
  ],
  [
    /Permission denied \(/,
    'it does not accept our key',
    () => 'set SSH_IDENTITY_FILE, or start an ssh-agent that has the key; the user is the one of the target',
  ],
  [/Could not resolve hostname/, 'its name is not known', () => 'correct TARGET'],
  [/Connection refused/, 'nothing listens there', () => 'check the port of TARGET, and that sshd runs'],
  [
    /timed out|No route to host|unreachable/i,
    'it does not answer',
    () => 'check that it runs, and its firewall',
  ],
];

const bare = (name: string) => name.replace(/^.*@/, '');

/**
 * What is wrong with how ssh ended. Without the exit code that the other side tells there is no success: a login shell
 * that did not run the command may end with 0.
 * @param failure what is wrong by ssh's own exit code, if anything
 */
function connectionFailure(
  code: number | null,
  failure: CommandFailure | undefined,
  { command, name, said }: { command: Command; name: string; said: Asides },
): Failure | undefined {
  if (said.exit === code || (failure && code === null)) return failure;
  const cause = { cause: failure };
  if (said.group !== undefined)
    return new Failure(`${name}: the connection was lost while ${programOf(command)} ran`, {
      next: 'look at the host: whether the command ended is not known',
      ...cause,
    });
  const stderr = failure?.stderr ?? '';
  for (const [pattern, why, next] of CAUSES)
    if (pattern.test(stderr))
      return new Failure(`${name} cannot be reached: ${why}`, { next: next(name), ...cause });
  const words = said.before.trim().split('\n').at(-1) || (failure?.words ?? 'its login shell ended first');
  return new Failure(`${name} did not run ${programOf(command)}: ${mask(words)}`, {
    next: `try it by hand: ssh ${name} true; then look at the login shell of that user and its profile files`,
    ...cause,
  });
}

export interface SshAddress {
  user?: string | undefined;
  host: string;
  port?: number | undefined;
}

interface SshAccess {
  identityFile?: string | undefined;
  knownHosts?: string | undefined;
}

interface SshOptions extends HostOptions, SshAccess {
  /** It is called by its port too, since another host of the run has the same address. */
  withPort?: boolean;
}

/** An idle connection that nobody closed, because its script was killed, ends by itself after this long. */
const LINGER_S = 60;
/** How long ssh may take to end a command or a connection. */
const KILL_MS = 15_000;

/**
 * A text for /bin/sh as the one line that every login shell passes on alike: sshd gives the line to the user's own, and
 * sh, bash, zsh, tcsh and fish each read breaks, backslashes and redirections in their own way. Standard input stays
 * the command's.
 */
const forAnyShell = (text: string): string =>
  `exec /bin/sh -c 'eval "$(printf %s ${Buffer.from(text).toString('base64')} | base64 -d)"'`;

/**
 * What runs a command on the other side. It tells the group to kill, where the command's output begins, and the exit
 * code once there is one: ssh itself exits with 255 for a broken connection and for a command that does so alike.
 * Secret variables come as the first lines of standard input; `read` takes no byte more than its line.
 */
function remoteText(command: Command): string {
  const reads = secretsOf(command).map(
    ([name]) =>
      `IFS= read -r v; ${name}=$(printf %s "$v" | base64 -d; printf .); export ${name}="\${${name}%.}"`,
  );
  return [
    `printf '\\036opsbook group %s\\n' $$ >&2; printf %s ${quote(BEGIN)}`,
    ...reads,
    `sh -c ${quote(shellText(command))}`,
    `code=$?; printf '\\036opsbook exit %s\\n' "$code" >&2; exit "$code"`,
  ].join('\n');
}

/**
 * A host reached by the system's ssh, over one connection that all commands share. Its key must be known beforehand,
 * and nothing is ever asked.
 */
export function sshHost(
  address: SshAddress,
  options: SshOptions,
  control = controlPath(),
): Host & { close(): Promise<void> } {
  const { signal, onStart } = options;
  const { user, host, port } = address;
  const name = user ? `${user}@${host}` : host;
  const args = [...sshArguments(options, control), ...(port ? ['-p', String(port)] : []), name];
  const ssh: Spawn = (text) => spawn('ssh', [...args, forAnyShell(text)]);
  const start = (command: Command): Running => {
    signal?.throwIfAborted();
    onStart?.(command);
    const said = asides();
    const kill = (child: Child) => {
      if (said.group === undefined) return void child.kill();
      const text = `kill -s TERM -- -${said.group} 2>/dev/null || sudo -n kill -s TERM -- -${said.group}`;
      const signal = AbortSignal.timeout(KILL_MS);
      launch(cmd`kill`, text, ssh, { signal, killAfterMs: 1_000 }).stdin.end();
    };
    const running = launch(command, remoteText(command), ssh, {
      ...{ signal, end: kill, killAfterMs: 10_000, on: name, stdout: said.stdout, stderr: said.stderr },
      judge: (code, failure) => connectionFailure(code, failure, { command, name, said }),
    });
    for (const [, secret] of secretsOf(command))
      running.stdin.write(`${Buffer.from(secret.reveal()).toString('base64')}\n`);
    return running;
  };
  const run: Host['run'] = async (command, input) => runToEnd(start(command), input);
  return {
    ...{ name: options.withPort ? `${name}:${port ?? 22}` : name },
    ...{ target: `ssh://${name}${port ? `:${port}` : ''}` },
    ...{ $: shellOf(run), start, run },
    get uninterrupted() {
      return sshHost(address, { ...options, signal: undefined }, control);
    },
    async close() {
      const exit: Spawn = () => spawn('ssh', ['-O', 'exit', '-o', `ControlPath=${control}`, name]);
      const signal = AbortSignal.timeout(KILL_MS);
      await runToEnd(launch(cmd`ssh`, '', exit, { signal, killAfterMs: 1_000 })).catch((error: unknown) => {
        // There was no connection to close, or it does not heed us: it ends by itself.
        if (!(error instanceof CommandFailure) && !signal.aborted) throw error;
      });
    },
  };
}

/** Short: the path of a socket may not be longer than 108 bytes, and ssh appends 17 of its own. */
const controlPath = (): string => join(tmpdir(), `opsbook-${randomUUID().slice(0, 8)}`);

function sshArguments({ identityFile, knownHosts }: SshAccess, control: string): string[] {
  const options: Record<string, string | number> = {
    BatchMode: 'yes',
    StrictHostKeyChecking: 'yes',
    ControlMaster: 'auto',
    ControlPath: control,
    ControlPersist: LINGER_S,
    ConnectTimeout: 10,
    ServerAliveInterval: 15,
    ServerAliveCountMax: 2,
    // Whatever the user's own configuration asks for with this host: a terminal changes what a command writes.
    RequestTTY: 'no',
    RemoteCommand: 'none',
    ...(identityFile ? { IdentityFile: identityFile, IdentitiesOnly: 'yes' } : {}),
    ...(knownHosts ? { UserKnownHostsFile: knownHosts } : {}),
  };
  return Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}
