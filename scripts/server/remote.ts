import { appCommandSettings, composeSettings, targetSettings } from '../../lib/app.ts';
import { type Command, cmd, show } from '../../lib/command.ts';
import { composeCommand } from '../../lib/compose.ts';
import { flag, option } from '../../lib/definition.ts';
import { EXIT, Failure, throwAll } from '../../lib/failure.ts';
import { hostOpsbook, opsbookFailure, opsbookSettings, type Places } from '../../lib/host-opsbook.ts';
import { script } from '../../lib/script.ts';
import { settingFamily } from '../../lib/settings.ts';

/** What only looks, and what is done on each host; all else concerns the app, and is done once. */
const LOOKS = ['logs', 'status'];
const ON_EACH = [...LOOKS, 'restart', 'exec', 'shell'];

await script(import.meta, {
  does: "Look after the app on its hosts: logs, status, restart, migrate, exec, shell, or a command of the app's own",
  step: 'Manage the app, from anywhere',
  example: 'npx tsx scripts/server/remote.ts logs web --since 1h --grep error --target ssm://tag:Name=bloaty',
  settings: {
    ...targetSettings,
    ...composeSettings,
    ...appCommandSettings,
    ...opsbookSettings,
    REMOTE: settingFamily('REMOTE_', {
      about:
        "a command line of the app's own that `remote <name>` runs in its container; operands are appended",
      example: 'python -m app.invites create',
    }),
  },
  operands: {
    '<verb>':
      'logs, status, restart, migrate, create-user EMAIL, exec, shell, opsbook AREA/SCRIPT, or the <name> of a REMOTE_<NAME>',
    '[words...]': 'services, operands, or a command; each word is passed as one argument',
  },
  flags: {
    service: option<string>('--service <name>', 'run in this service instead of APP_SERVICE'),
    tail: option(
      '--tail <lines>',
      'logs: number of lines of each service (default: 100, all with --since)',
      parseCount,
    ),
    since: option<string>('--since <age>', 'logs: not older than 10m, 2h, or a time'),
    follow: flag('--follow', 'logs: go on until interrupted'),
    grep: option('--grep <pattern>', 'logs: only lines that match this regular expression', parsePattern),
    passwordStdin: flag('--password-stdin', 'create-user: the password is the first line of standard input'),
  },
  literalAfter: ['exec', 'shell', 'opsbook'],
  changes: true,
  reports: true,
  reaches: 'hosts',
  async run(context) {
    const { settings: s, flags, operands, hosts, report, signal, dryRun } = context;
    const { newPassword, restartOneByOne, runOn, showStatus } = await import('../../lib/server/remote.ts');

    const [verb = '', ...words] = operands;
    const [first] = hosts;
    if (!first) return;
    const command = commandOf({ verb, words, ...flags }, s);
    const chosen = ON_EACH.includes(verb) ? hosts : [first];
    if (dryRun && !LOOKS.includes(verb)) {
      for (const { name } of chosen) report.info(`would run on ${name}: ${show(command)}`);
      return;
    }
    if (chosen.length < hosts.length)
      report.info(`on ${first.name}, the first of ${hosts.length} hosts: it concerns the app, not a host`);
    if (verb === 'status') return showStatus(context, command);
    if (verb === 'restart') {
      const list = composeCommand(s.APP_DIR, s, ['ps', '--all', '--format', 'json', ...words]);
      return restartOneByOne(context, command, list, words);
    }
    const password =
      verb === 'create-user' ? await newPassword(words[0], flags.passwordStdin === true, signal) : undefined;
    const outcomes = await runOn(chosen, command, context, { ...flags, password, isLogs: verb === 'logs' });
    throwAll(
      outcomes.flatMap(({ host, failure }) => {
        if (!failure || verb !== 'opsbook') return failure ?? [];
        return opsbookFailure(failure, `${words[0]} on ${host.name}: `, 'read what it said above') as Failure;
      }),
    );
    // Shown to the person who asked for it, once, and never where nobody sits.
    if (password?.generated) process.stderr.write(`password of ${words[0]}: ${password.secret.reveal()}\n`);
  },
});

interface Request {
  verb: string;
  words: readonly string[];
  service?: string | undefined;
  tail?: number | undefined;
  since?: string | undefined;
  follow?: boolean | undefined;
}

/** The settings that commands are made of. */
interface App extends Places {
  APP_SERVICE: string;
  MIGRATE_COMMAND?: string | undefined;
  REMOTE: Readonly<Record<string, string>>;
}

/**
 * The command that a request comes to. Words stay words: each is an argument of its own, whatever is in it.
 * @throws Failure with exit 2 for a verb that does not exist, or one with too few words
 */
export function commandOf({ verb, words, service, tail, since, follow }: Request, app: App): Command {
  const compose = (...args: string[]) => composeCommand(app.APP_DIR, app, args);
  const inApp = (...argv: string[]) => compose('exec', '-T', service ?? app.APP_SERVICE, ...argv);
  switch (verb) {
    case 'logs':
      return compose(
        ...['--ansi', 'never', 'logs', '--no-color', '--timestamps'],
        ...['--tail', String(tail ?? (since === undefined ? 100 : 'all'))],
        ...(since === undefined ? [] : ['--since', since]),
        ...(follow ? ['--follow'] : []),
        ...words,
      );
    case 'status':
      return compose('ps', '--all', '--format', 'json');
    case 'restart':
      return compose('restart', ...words);
    case 'exec':
      return inApp(...line(verb, words));
    case 'shell':
      return { ...cmd`${line(verb, words)}`, root: true };
    case 'opsbook': {
      const [name = '', ...rest] = words;
      if (/^[a-z]+\/[a-z0-9-]+$/.test(name)) return hostOpsbook(app, name, rest);
      throw usage(
        `opsbook needs a script, as area/name${name && `: not "${name}"`}`,
        'say which: remote opsbook backup/list',
      );
    }
    case 'migrate':
      return inApp(...appended('MIGRATE_COMMAND', app.MIGRATE_COMMAND, 'alembic upgrade head', words));
    default: {
      const setting = `REMOTE_${verb.toUpperCase().replaceAll('-', '_')}`;
      return inApp(...appended(setting, app.REMOTE[verb], 'python -m app.command', words));
    }
  }
}

function usage(message: string, next: string): Failure {
  return new Failure(message, { exit: EXIT.usage, next });
}

/** A single word with blanks in it is a line for a shell; several words are a command as they stand. */
function line(verb: string, words: readonly string[]): readonly string[] {
  const [first, ...rest] = words;
  if (first === undefined) throw usage(`${verb} needs a command`, `say which: remote ${verb} ls -l`);
  return rest.length === 0 && /\s/.test(first) ? ['sh', '-c', first] : words;
}

/** The line of a setting with operands behind it; they are the line's "$@", and never read by a shell. */
function appended(
  name: string,
  text: string | undefined,
  example: string,
  words: readonly string[],
): string[] {
  if (text !== undefined) return ['sh', '-c', `${text} "$@"`, 'sh', ...words];
  throw usage(`${name} is not set`, `set it, for example ${name}="${example}", or use exec`);
}

function parseCount(raw: string): number {
  if (!/^\d+$/.test(raw)) throw new Error('is not a number of lines');
  return Number(raw);
}

function parsePattern(raw: string): RegExp {
  return new RegExp(raw);
}
