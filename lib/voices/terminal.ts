import { performance } from 'node:perf_hooks';
import { styleText } from 'node:util';
import { bytes, duration, grouped } from '../format.ts';
import { outcome, type Progress, type Voice } from '../report.ts';

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
