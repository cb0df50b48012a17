import { performance } from 'node:perf_hooks';
import { duration } from './format.ts';
import { mask } from './secret.ts';

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
export function outcome(note: string, elapsedMs: number): string {
  return note ? `${note} (${duration(elapsedMs)})` : `done (${duration(elapsedMs)})`;
}
