import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, CommandFailure, quote } from '../command.ts';
import type { Host, HostOptions, Running } from '../host.ts';
import { launch, runToEnd } from './process.ts';
import { secretsOf, shellText } from './shell.ts';
import { connectionFailure } from './ssh-failure.ts';
import { asides } from './ssh-stderr.ts';

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

/**
 * What runs a command on the other side. It tells the group to kill, and the exit code once there is one: ssh itself
 * exits with 255 for a broken connection and for a command that does so alike. Secret variables come as the first
 * lines of standard input; `read` takes no byte more than its line.
 */
function remoteText(command: Command): string {
  const reads = secretsOf(command).map(
    ([name]) =>
      `IFS= read -r v; ${name}=$(printf %s "$v" | base64 -d; printf .); export ${name}="\${${name}%.}"`,
  );
  return [
    `printf '\\036opsbook group %s\\n' $$ >&2`,
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
    const kill = () => {
      if (said.group === undefined) return;
      const text = `kill -s TERM -- -${said.group} 2>/dev/null || sudo -n kill -s TERM -- -${said.group}`;
      launch({ argv: ['kill'] }, { argv: [...ssh, text] }, { killAfterMs: 5_000 }).stdin.end();
    };
    const running = launch(
      command,
      { argv: [...ssh, `exec sh -c ${quote(remoteText(command))}`] },
      {
        ...{ signal, end: kill, killAfterMs: 10_000, stderr: said.filter, on: name },
        failure: (error) => connectionFailure(error, name, said),
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
      await runToEnd(launch({ argv: ['ssh'] }, exit, { killAfterMs: 1_000 })).catch((error: unknown) => {
        // There was no connection to close.
        if (!(error instanceof CommandFailure)) throw error;
      });
    },
  };
}

/** Short: the path of a socket may not be longer than 108 bytes, and ssh appends 17 of its own. */
const controlPath = () => join(tmpdir(), `opsbook-${randomUUID().slice(0, 8)}`);

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
    ...(identityFile ? { IdentityFile: identityFile, IdentitiesOnly: 'yes' } : {}),
    ...(knownHosts ? { UserKnownHostsFile: knownHosts } : {}),
  };
  return Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}
