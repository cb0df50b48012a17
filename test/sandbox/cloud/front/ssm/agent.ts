import type { Readable } from 'node:stream';
import { engine, engineJson } from '../engine.ts';
import type { Instance } from '../instances.ts';

export interface Script {
  commandId: string;
  commands: string[];
  /** empty: the agent's own */
  workingDirectory: string;
  region: string;
}

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** GetStatus in the agent's runpluginutil: 137 is how it ends a script itself, so any 137 is taken for a timeout. */
export const KILLED = 137;

/** What GetCommandInvocation has room for; the agent keeps no more. */
const STDOUT_KEPT = 24_000;
const STDERR_KEPT = 8_000;

const directory = (instance: Instance, { commandId }: Script): string =>
  `/var/lib/amazon/ssm/${instance.id}/document/orchestration/${commandId}/awsrunShellScript/0.awsrunShellScript`;

/** All that a script finds in its environment: no HOME (amazon-ssm-agent, issue 427). */
const environment = (instance: Instance, { commandId, region }: Script): string[] => [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin',
  'LANG=C.UTF-8',
  `AWS_SSM_INSTANCE_ID=${instance.id}`,
  `AWS_SSM_REGION_NAME=${region}`,
  'AWS_SSM_PLATFORM_NAME=Debian GNU/Linux',
  'AWS_SSM_PLATFORM_VERSION=13',
  `SSM_COMMAND_ID=${commandId}`,
];

/**
 * The script comes as an argument: a copy into the container would cost the engine more than all the rest. Nothing of
 * it is left in the process list once it runs.
 */
const LAUNCH = `(umask 077; mkdir -p "$1" && printf %s "$3" > "$1/_script.sh" && chmod 700 "$1/_script.sh") || exit 1
echo $$ > "$1/pid"; cd "$2" || exit 1; exec sh -c "$1/_script.sh"`;

/**
 * Puts the script where the agent does, and runs it as the agent does: `sh -c .../_script.sh` as root, as the leader of
 * a process group of its own, with no terminal and in the working directory of the agent's unit file. (amazon-ssm-agent:
 * executers.go, runshellscript.go, packaging/linux.)
 */
export async function runScript(instance: Instance, script: Script): Promise<Ran> {
  const dir = directory(instance, script);
  const text = `${script.commands.join('\n')}\n`;
  const argv = ['sh', '-c', LAUNCH, 'agent', dir, script.workingDirectory || '/usr/bin', text];
  const id = await createExec(instance, ['env', '-i', ...environment(instance, script), ...argv], true);
  const stream = await engine('POST', `/exec/${id}/start`, { Detach: false, Tty: false });
  const [stdout, stderr] = await demultiplex(stream);
  const { ExitCode } = await engineJson<{ ExitCode: number | null }>('GET', `/exec/${id}/json`);
  const code = ExitCode ?? -1;
  // The agent's own words, after the command's: MarkAsFailed in iohandler.go. It holds 137 for its own doing.
  const failed = code !== 0 && code !== KILLED;
  return { code, stdout, stderr: failed ? `${stderr}failed to run commands: exit status ${code}` : stderr };
}

/** The script may not have begun: its pid is waited for, for 5 s. */
const kill =
  'n=0; until [ -s "$1" ] || [ $n -ge 50 ]; do sleep 0.1; n=$((n + 1)); done; kill -s KILL -- "-$(cat "$1")"';

/** SIGKILL to the whole process group of a script, as the agent does it; what it had started with it. */
export async function killScript(instance: Instance, script: Script): Promise<void> {
  const pid = `${directory(instance, script)}/pid`;
  const id = await createExec(instance, ['sh', '-c', kill, 'agent', pid], false);
  await engineJson('POST', `/exec/${id}/start`, { Detach: true });
}

async function createExec(instance: Instance, Cmd: string[], attach: boolean): Promise<string> {
  const options = { Cmd, AttachStdout: attach, AttachStderr: attach, Tty: false, User: 'root' };
  const { Id } = await engineJson<{ Id: string }>('POST', `/containers/${instance.container}/exec`, options);
  return Id;
}

/** Keeps the first characters of a stream; what is cut is cut between characters, and bytes that are no text read `�`. */
class Kept {
  #text = '';
  readonly #decoder = new TextDecoder();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(bytes: Buffer): void {
    if (this.#text.length < this.#limit) this.#text += this.#decoder.decode(bytes, { stream: true });
  }

  get text(): string {
    const whole = this.#text + this.#decoder.decode();
    return [...whole].slice(0, this.#limit).join('');
  }
}

/** The engine's framing of two streams in one: a byte of 1 or 2, three of nothing, four of length. */
async function demultiplex(stream: Readable): Promise<[string, string]> {
  const out = new Kept(STDOUT_KEPT);
  const err = new Kept(STDERR_KEPT);
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    while (rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(4)) {
      const end = 8 + rest.readUInt32BE(4);
      (rest[0] === 2 ? err : out).add(rest.subarray(8, end));
      rest = rest.subarray(end);
    }
  }
  return [out.text, err.text];
}
