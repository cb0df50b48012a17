import type { Command } from '../../command.ts';
import type { Compose } from '../../compose.ts';
import { EXIT, Failure } from '../../failure.ts';
import { hostOpsbook, type Places } from '../../host-opsbook.ts';

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
      return { argv: [first, ...rest], root: true };
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
