import type { Command, Option } from 'commander';
import type { Definition, Flag } from './script.ts';
import type { Settings } from './settings.ts';

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
