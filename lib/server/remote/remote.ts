import type { Command } from '../../command.ts';
import { show } from '../../command.ts';
import { compose } from '../../compose.ts';
import { EXIT, Failure, Problems } from '../../failure.ts';
import { type FanOut, type Outcome, onEach } from '../../fan-out.ts';
import { duration, table } from '../../format.ts';
import type { Host } from '../../host.ts';
import { opsbookFailure } from '../../host-opsbook.ts';
import type { Context } from '../../script.ts';
import { Secret } from '../../secret.ts';
import type { Values } from '../../settings.ts';
import { lines, writeLine } from './output.ts';
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
