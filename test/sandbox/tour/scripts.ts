import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { exportLines } from '../env.ts';
import { checkout, directory, stateDir } from '../names.ts';

type Environment = Readonly<Record<string, string>>;

/** In whose name a script runs: the sandbox's user `SANDBOX_<name>_ACCESS_KEY_ID`, and what to call it. */
const people = {
  READER: "the reader's",
  SECRETS_WRITER: "the secrets' writer's",
  SECRETS_READER: "the secrets' reader's",
  OPERATOR: "the operator's",
  ADMIN: "the administrator's",
} as const;

interface How {
  as?: keyof typeof people;
  /** The exit code that is right; 0 unless told. */
  exit?: number;
  /** Its standard input. */
  input?: string;
  /** What is shown behind the command. */
  note?: string;
  /** Where it runs; in this checkout unless told. */
  cwd?: string;
}

/** The scripts, run as the tour's reader would run them. */
export interface Scripts {
  readonly env: Environment;
  /** Shows the command and runs it, its output going where ours goes. @throws Error when it ends otherwise than it should */
  run(script: string, args?: readonly string[], how?: How): Promise<void>;
  /** The same, but its standard output is the answer. */
  ask(script: string, args?: readonly string[], how?: How): Promise<string>;
  /** The same scripts with settings added or replaced. */
  with(settings: Environment): Scripts;
}

/** @param env all settings of the scripts; `sandbox` is what a shell may have that operates the sandbox by hand */
export function scripts(env: Environment, sandbox: Environment): Scripts {
  const shell = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in sandbox)));
  const start = async (script: string, args: readonly string[], how: How, stdout: 'inherit' | 'pipe') => {
    const { as, exit = 0, input, cwd } = how;
    const file = `scripts/${script}.ts`;
    const note = how.note ?? (as && `with ${people[as]} credentials`);
    process.stdout.write(
      `\n$ npx tsx ${[file, ...args.map(quoted)].join(' ')}${note ? `   # ${note}` : ''}\n`,
    );
    const result = await execa('tsx', [join(checkout, file), ...args], {
      ...{ cwd: cwd ?? checkout, localDir: checkout, preferLocal: true, stdout, stderr: 'inherit' },
      ...(input === undefined ? { stdin: 'inherit' as const } : { input }),
      ...{ extendEnv: false, env: { ...shell, ...env, ...(as ? keysOf(sandbox, as) : {}) }, reject: false },
    });
    if (result.exitCode !== exit) throw new Error(`${script} ended with ${result.exitCode}, not ${exit}`);
    return String(result.stdout ?? '');
  };
  return {
    env,
    run: async (script, args = [], how = {}) => void (await start(script, args, how, 'inherit')),
    ask: (script, args = [], how = {}) => start(script, args, how, 'pipe'),
    with: (settings) => scripts({ ...env, ...settings }, sandbox),
  };
}

const quoted = (word: string) =>
  /^[\w@%+=:,./<>-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

const keysOf = (sandbox: Environment, as: keyof typeof people): Record<string, string> => ({
  AWS_ACCESS_KEY_ID: sandbox[`SANDBOX_${as}_ACCESS_KEY_ID`] ?? '',
  AWS_SECRET_ACCESS_KEY: sandbox[`SANDBOX_${as}_SECRET_ACCESS_KEY`] ?? '',
});

/** Writes the settings to a file that a shell can read, in place of those of the sandbox's app. @returns its path */
export function shellFile(name: string, env: Environment, sandbox: Environment): string {
  const file = join(directory(stateDir, 'tour'), `${name}.sh`);
  const others = Object.keys(sandbox).filter((one) => !(one in env) && !one.startsWith('SANDBOX_'));
  rmSync(file, { force: true });
  writeFileSync(file, `unset ${others.join(' ')}\n${exportLines({ ...env })}`, { mode: 0o600 });
  return file;
}
