import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Command, Option } from 'commander';
import type { Definition, Flag, Flags } from './definition.ts';
import { EXIT } from './failure.ts';
import type { Settings } from './settings.ts';

/** What documentation is made of: a script's name, and all that it states. */
type Hear = (name: string, definition: Definition<Settings, Flags>) => void;
let hear: Hear | undefined;

/** From now on a script that is imported does not run: its definition goes to `listener`, for documentation. */
export function onlyDescribe(listener: Hear): void {
  hear = listener;
}

/** The command line with `--` behind the operand that makes the rest of it literal. */
export function literal(argv: readonly string[], after: readonly string[] = []): string[] {
  const at = argv.findIndex((word) => after.includes(word));
  return at < 0 ? [...argv] : [...argv.slice(0, at + 1), '--', ...argv.slice(at + 1)];
}

/** Runs the script that `meta` is the module of; the only thing a script file calls. */
export async function script<S extends Settings, F extends Flags = Record<never, never>>(
  meta: ImportMeta,
  definition: Definition<S, F>,
): Promise<void> {
  const name = definition.name ?? basename(meta.filename, '.ts');
  if (hear) return hear(name, definition as unknown as Definition<Settings, Flags>);
  // Imported, by a test of its functions. (Node before 24.2 does not know it.)
  if (meta.main === false) return;
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major < 24) {
    process.stderr.write(
      `${name}: needs Node 24, this is ${process.versions.node} on ${hostname()}. Next: start it by npx tsx, ` +
        'or put node_modules/.bin first on PATH\n',
    );
    process.exitCode = EXIT.usage;
    return;
  }
  // A reader that went away, or a terminal that was closed, must not keep us from cleaning up.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const program = await commandLine(name, definition as unknown as Definition<Settings, Flags>);
  try {
    program.parse(literal(process.argv, definition.literalAfter));
  } catch (error) {
    process.exitCode = (error as { exitCode: number }).exitCode === 0 ? EXIT.done : EXIT.usage;
    return;
  }
  const { execute } = await import('./run.ts');
  await execute(name, definition as unknown as Definition<Settings, Flags>, {
    ...program.opts(),
    operands: program.args,
  });
}

/** The command line of a script, made of its definition; parsing it throws commander's errors, told already. */
export async function commandLine(
  name: string,
  definition: Definition<Settings, Record<string, Flag<unknown>>>,
): Promise<Command> {
  const { Command, Option, InvalidArgumentError } = await import('commander');
  const { does, step, flags = {}, operands = {}, ...is } = definition;
  const program = new Command(name)
    .description(`${does}\n\nRunbook: ${step} (docs/runbook.md)`)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(oneLine(name, text)) });
  for (const [operand, about] of Object.entries(operands)) program.argument(operand, about);
  for (const { flags: text, about, parse, repeats } of Object.values(flags)) {
    const made: Option = new Option(text, about);
    if (parse) made.argParser(parseWith(parse, InvalidArgumentError));
    if (repeats) made.argParser(repeated);
    program.addOption(made);
  }
  if (is.changes) program.option('--dry-run', 'look at everything, print what would be done, change nothing');
  if (is.reports) program.option('--json', 'answer with one JSON document on stdout');
  if ('TARGET' in is.settings) program.option('--target <uri>', 'run on it instead of TARGET');
  else if (!is.targetless)
    program.option('--target <uri>', 'local: on this machine, whatever TARGET says; another is refused');
  if (is.asks) program.option('--yes', 'do not ask');
  return program
    .option('--env-file <file>', 'read settings from it (default: .env); the environment wins', repeated)
    .option('--verbose', 'show the commands that run, and the stack of an error')
    .helpOption('--help', 'show this')
    .showSuggestionAfterError()
    .addHelpText('after', () => settingsAndExample(definition));
}

/** Not commander's own variadic options: they would swallow the operands behind them. */
const repeated = (value: string, before: string[] = []): string[] => [...before, value];

const oneLine = (name: string, text: string) =>
  `${name}: ${text
    .trim()
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')}. Next: --help lists the flags\n`;

function settingsAndExample({
  settings,
  example,
}: Pick<Definition<Settings, never>, 'settings' | 'example'>) {
  const names = [
    'APP',
    'APP_DIR',
    ...Object.values(settings).map((s) => s.name),
    'NOTIFY_URL',
    'HEARTBEAT_URL',
  ];
  return `\nSettings (docs/settings.md): ${names.join(', ')}, AWS_*\n\nExample:\n  ${example}`;
}

function parseWith<T>(
  parse: (raw: string) => T,
  Invalid: new (message: string) => Error,
): (raw: string) => T {
  return (raw) => {
    try {
      return parse(raw);
    } catch (error) {
      throw new Invalid((error as Error).message);
    }
  };
}
