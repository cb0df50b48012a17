import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, CommandFailure, quote } from '../command.ts';
import type { Host, HostOptions, Running } from '../host.ts';
import { launch, runToEnd } from './process.ts';
import { secretsOf, shellText } from './shell.ts';
import { asides, BEGIN } from './ssh-asides.ts';
import { connectionFailure } from './ssh-failure.ts';

export interface SshAddress {
  user?: string | undefined;
  host: string;
  port?: number | undefined;
}

export interface SshAccess {
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
export const forAnyShell = (text: string): string =>
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
  const ssh = ['ssh', ...sshArguments(options, control), ...(port ? ['-p', String(port)] : []), name];
  const start = (command: Command): Running => {
    signal?.throwIfAborted();
    onStart?.(command);
    const said = asides();
    const kill = (child: ChildProcess) => {
      if (said.group === undefined) return void child.kill();
      const text = `kill -s TERM -- -${said.group} 2>/dev/null || sudo -n kill -s TERM -- -${said.group}`;
      const signal = AbortSignal.timeout(KILL_MS);
      launch(
        { argv: ['kill'] },
        { argv: [...ssh, forAnyShell(text)] },
        { signal, killAfterMs: 1_000 },
      ).stdin.end();
    };
    const running = launch(
      command,
      { argv: [...ssh, forAnyShell(remoteText(command))] },
      {
        ...{ signal, end: kill, killAfterMs: 10_000, on: name, stdout: said.stdout, stderr: said.stderr },
        judge: (code, failure) => connectionFailure(code, failure, { command, name, said }),
      },
    );
    for (const [, secret] of secretsOf(command))
      running.stdin.write(`${Buffer.from(secret.reveal()).toString('base64')}\n`);
    return running;
  };
  return {
    ...{ name: options.withPort ? `${name}:${port ?? 22}` : name },
    ...{ target: `ssh://${name}${port ? `:${port}` : ''}` },
    start,
    run: async (command, input) => runToEnd(start(command), input),
    get uninterrupted() {
      return sshHost(address, { ...options, signal: undefined }, control);
    },
    async close() {
      const exit = { argv: ['ssh', '-O', 'exit', '-o', `ControlPath=${control}`, name] };
      const signal = AbortSignal.timeout(KILL_MS);
      await runToEnd(launch({ argv: ['ssh'] }, exit, { signal, killAfterMs: 1_000 })).catch(
        (error: unknown) => {
          // There was no connection to close, or it does not heed us: it ends by itself.
          if (!(error instanceof CommandFailure) && !signal.aborted) throw error;
        },
      );
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
