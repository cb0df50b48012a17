import type { Command } from '../../command.ts';
import { show } from '../../command.ts';
import { compose } from '../../compose.ts';
import { EXIT, Failure, Problems } from '../../failure.ts';
import { type FanOut, type Hear, type Outcome, onEach } from '../../fan-out.ts';
import { duration, table } from '../../format.ts';
import type { Host } from '../../host.ts';
import type { Context } from '../../script.ts';
import { Secret } from '../../secret.ts';
import type { Values } from '../../settings.ts';
import { passOn } from './output.ts';
import { passwordFor } from './password.ts';
import { restart } from './restart.ts';
import type { remoteSettings } from './settings.ts';
import { status } from './status.ts';
import { commandOf } from './verbs.ts';

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
  const own = { own: settings.REMOTE, migrate: settings.MIGRATE_COMMAND };
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
  const collected = new Map<string, { out: Buffer[]; err: Buffer[] }>(
    hosts.map((h) => [h.target, { out: [], err: [] }]),
  );
  const collect: Hear = (host, stream, chunk) => void collected.get(host.target)?.[stream].push(chunk);
  const shown = passOn({ prefix: (name) => (several ? `${name} | ` : ''), grep: flags.grep });
  const options: FanOut = {
    signal,
    live: flags.follow === true || !several,
    hear: json ? collect : shown.hear,
  };
  if (input !== undefined) options.input = new Secret(`${input}\n`);
  const outcomes = await onEach(hosts, command, options);
  shown.end();
  if (json) report.data(JSON.stringify(outcomes.map((outcome) => answer(outcome, collected))));
  if (several) report.summary(summary(outcomes));
  refuseFailed(outcomes);
}

function answer(
  { host, code, ms, failure }: Outcome,
  collected: Map<string, { out: Buffer[]; err: Buffer[] }>,
) {
  const { out = [], err = [] } = collected.get(host.target) ?? {};
  const said = { stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') };
  return { host: host.name, target: host.target, ok: !failure, code, ms: Math.round(ms), ...said };
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

/** @throws what failed, each host's by itself */
export function refuseFailed(outcomes: readonly Outcome[]): void {
  const failures = outcomes.flatMap(({ failure }) => (failure ? [failure] : []));
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new Problems(failures);
}
