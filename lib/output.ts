import { appendFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { styleText } from 'node:util';
import { bytes, duration, grouped } from './format.ts';
import { knownSecrets, mask } from './secret.ts';

/** What would move a terminal's cursor, colour it or turn a line around, but for line ends and tabs. */
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/** `text` as it may be shown: without secrets, and without power over the terminal, whoever wrote it. */
const told = (text: string): string => tame(mask(text));

const tame = (text: string): string =>
  text.replaceAll(CONTROLS, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The strings and the numbers of a JSON text. */
const SCALAR = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/** Each value of a JSON text is masked by itself, as it is when it was read: it stays JSON, whatever the secret is. */
const toldJson = (text: string): string =>
  tame(
    text.replaceAll(SCALAR, (scalar) => {
      const value = scalar.startsWith('"') ? (JSON.parse(scalar) as string) : scalar;
      const masked = mask(value);
      return masked === value ? scalar : JSON.stringify(masked);
    }),
  );

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** How far a step is; `total` is absent where it is not known beforehand. */
export interface Progress {
  done: number;
  total?: number;
  unit: 'bytes' | 'files' | 'rows';
}

/** What a step may say of itself while it runs. */
export interface Step {
  progress(progress: Progress): void;
  /** What was achieved, shown behind the step when it is done. */
  note(text: string): void;
}

/** One way of talking to whoever runs the script. All texts it is given are masked already. */
export interface Voice {
  start(title: string): void;
  progress(title: string, progress: Progress, elapsedMs: number): void;
  done(title: string, note: string, elapsedMs: number): void;
  failed(title: string, elapsedMs: number): void;
  say(level: 'info' | 'warning' | 'error', text: string): void;
  /** A table that sums the run up. */
  table(text: string): void;
  /** A named result for steps that follow (GitHub Actions' outputs). */
  output(name: string, value: string): void;
}

/** Everything that a script says. stderr is talk; stdout gets only what {@link Report.data} is given. */
export class Report {
  readonly warnings: string[] = [];
  private readonly voice: Voice;
  private readonly stdout: (text: string) => void;

  constructor(voice: Voice, stdout: (text: string) => void = (text) => process.stdout.write(text)) {
    this.voice = voice;
    this.stdout = stdout;
  }

  /** Runs `act` as one step: announced, timed, and reported as done or failed. Steps do not overlap. */
  async step<T>(title: string, act: (step: Step) => Promise<T>): Promise<T> {
    const shown = told(title);
    const started = performance.now();
    const elapsed = () => performance.now() - started;
    let note = '';
    this.voice.start(shown);
    try {
      const result = await act({
        progress: (progress) => this.voice.progress(shown, progress, elapsed()),
        note: (text) => {
          note = told(text);
        },
      });
      this.voice.done(shown, note, elapsed());
      return result;
    } catch (error) {
      this.voice.failed(shown, elapsed());
      throw error;
    }
  }

  info(text: string): void {
    this.voice.say('info', told(text));
  }

  /** Something that the operator should look at, though the run goes on. */
  warn(text: string): void {
    this.warnings.push(told(text));
    this.voice.say('warning', told(text));
  }

  error(text: string): void {
    this.voice.say('error', told(text));
  }

  summary(text: string): void {
    this.voice.table(told(text));
  }

  output(name: string, value: string): void {
    this.voice.output(name, told(value));
  }

  /** The script's answer, on stdout. */
  data(text: string): void {
    this.stdout(`${isJson(text) ? toldJson(text) : told(text)}\n`);
  }
}

/** `done in 3.1 s: 12 files`, as the voices that write lines put it. */
function outcome(note: string, elapsedMs: number): string {
  return note ? `${note} (${duration(elapsedMs)})` : `done (${duration(elapsedMs)})`;
}

/** Escapes as GitHub's workflow commands want it ("Workflow commands for GitHub Actions"). */
const escaped = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');

/** Text of which the runner would otherwise take a line, a file's name say, for a command. */
const plain = (text: string) => text.replaceAll(/^(\s*)(::|##\[)/gm, '$1\u200b$2');

/** The voice of GitHub Actions: groups, annotations, masks, outputs and the job's summary. */
export function actions(
  script: string,
  write: (text: string) => void,
  files: { output: string | undefined; summary: string | undefined },
): Voice {
  const masked = new Set<string>();
  const command = (name: string, text: string) => {
    for (const secret of knownSecrets()) {
      if (masked.has(secret)) continue;
      masked.add(secret);
      write(`::add-mask::${escaped(secret)}\n`);
    }
    write(`::${name}::${escaped(text)}\n`);
  };
  return {
    start: (title) => command('group', title),
    progress: () => {},
    done: (_, note, ms) => {
      write(`${plain(outcome(note, ms))}\n`);
      write('::endgroup::\n');
    },
    failed: (_, ms) => {
      write(`FAILED (${duration(ms)})\n`);
      write('::endgroup::\n');
    },
    say: (level, text) =>
      level === 'info' ? write(`${plain(text)}\n`) : command(level, `${script}: ${text}`),
    table: (text) => {
      write(`${plain(text)}\n`);
      if (files.summary) appendFileSync(files.summary, `### ${script}\n\n\`\`\`\n${text}\n\`\`\`\n`);
    },
    output: (name, value) => {
      if (files.output) appendFileSync(files.output, `${name}=${value.replaceAll(/[\r\n]/g, ' ')}\n`);
    },
  };
}

/** The voice of cron and of pipes: one timestamped line a step, no colour, nothing that moves. */
export function lines(script: string, write: (text: string) => void, now = () => new Date()): Voice {
  const line = (text: string) => {
    const prefix = `${now().toISOString().slice(0, 19)}Z ${script}: `;
    write(text.replaceAll(/^/gm, prefix).concat('\n'));
  };
  return {
    start: () => {},
    progress: () => {},
    done: (title, note, ms) => line(`${title}: ${outcome(note, ms)}`),
    failed: (title, ms) => line(`${title}: FAILED (${duration(ms)})`),
    say: (level, text) => line(level === 'info' ? text : `${level}: ${text}`),
    table: line,
    output: () => {},
  };
}

const WIDTH = 20;

/** `██████░░░░ 61% 1.2 GB, 84.0 MB/s` */
export function bar({ done, total, unit }: Progress, elapsedMs: number): string {
  const amount = (n: number) => (unit === 'bytes' ? bytes(n) : `${grouped(Math.round(n))} ${unit}`);
  const rate = elapsedMs > 0 ? `, ${amount(done / (elapsedMs / 1000))}/s` : '';
  if (!total) return `${amount(done)}${rate}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * WIDTH);
  const drawn = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)}`;
  return `${drawn} ${Math.floor(share * 100)}% ${amount(done)}${rate}`;
}

/** The voice of a terminal: a spinner with elapsed time, progress bars, colour unless `NO_COLOR` is set. */
export function terminal({ default: ora }: typeof import('ora'), output: NodeJS.WriteStream): Voice {
  const paint = (colour: 'green' | 'yellow' | 'red' | 'dim', text: string) =>
    styleText(colour, text, { stream: output });
  // ora would otherwise read the terminal itself, and Ctrl-C would not be a signal any more.
  // Of NO_COLOR it knows nothing either, hence our own symbols.
  const spinner = ora({
    stream: output,
    discardStdin: false,
    color: output.hasColors() ? 'cyan' : false,
  });
  let started = 0;
  /** Says something while the spinner keeps its own line. */
  const aside = (symbol: string, text: string) => {
    const spinning = spinner.isSpinning;
    if (spinning) spinner.clear();
    output.write(`${symbol} ${text}\n`);
    if (spinning) spinner.render();
  };
  const end = (symbol: string, text: string) => {
    spinner.suffixText = '';
    spinner.stopAndPersist({ symbol, text });
  };
  const symbols = { info: paint('dim', '·'), warning: paint('yellow', '▲'), error: paint('red', '✖') };
  return {
    start: (title) => {
      started = performance.now();
      spinner.start(title);
      spinner.suffixText = () => paint('dim', duration(performance.now() - started));
    },
    progress: (title, progress, ms) => {
      spinner.text = `${title} ${paint('dim', bar(progress, ms))}`;
    },
    done: (title, note, ms) => {
      end(paint('green', '✔'), `${title} ${paint('dim', outcome(note, ms))}`);
    },
    failed: (title, ms) => {
      end(symbols.error, `${title} ${paint('red', `failed (${duration(ms)})`)}`);
    },
    say: (level, text) => aside(symbols[level], text),
    table: (text) => output.write(`${text}\n`),
    output: () => {},
  };
}

/** The voice for whoever runs the script: GitHub Actions, a person at a terminal, or a log. */
export async function chooseVoice(script: string, env: NodeJS.ProcessEnv = process.env): Promise<Voice> {
  const write = (text: string) => void process.stderr.write(text);
  if (env.GITHUB_ACTIONS === 'true') {
    return actions(script, write, { output: env.GITHUB_OUTPUT, summary: env.GITHUB_STEP_SUMMARY });
  }
  // A terminal that does not tell its width (docker exec -t, ssh -tt without one) cannot be drawn on: ora would
  // never end clearing the infinitely many lines of a text.
  if (process.stderr.isTTY && process.stderr.columns > 0) {
    return terminal(await import('ora'), process.stderr);
  }
  return lines(script, write);
}
