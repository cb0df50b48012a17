import { duration } from '../format.ts';
import type { Voice } from '../report.ts';
import { outcome } from '../report.ts';

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
