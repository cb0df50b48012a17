import { cpus, loadavg, totalmem } from 'node:os';
import type { Sample } from './measure.ts';

/** One line of the table. What was not measured is left out. */
export interface Row {
  what: string;
  ours?: string;
  peer?: string;
  floor?: string;
  ratio?: string;
  target?: string;
  verdict?: string;
}

const columns = ['what', 'ours', 'peer', 'floor', 'ratio', 'target', 'verdict'] as const;

const short = (value: number): string => (value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** `3.20 s (3.1 to 3.4)`. */
export const spread = ({ median, least, most }: Sample, unit = 's'): string =>
  `${short(median)} ${unit} (${short(least)}–${short(most)})`;

const share = (part: number): string => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;

/** A row whose ratio is to be at least `target`: how many times faster than the peer. */
export function faster(
  what: string,
  ours: Sample,
  peer: Sample,
  target: number | undefined,
  floor?: Sample,
): Row {
  const ratio = peer.median / ours.median;
  const missed = target !== undefined && ratio < target;
  return {
    what,
    ours: spread(ours),
    peer: spread(peer),
    ...(floor ? { floor: spread(floor) } : {}),
    ratio: `${ratio.toFixed(2)}×`,
    ...(target === undefined ? {} : { target: `≥ ${target}×` }),
    verdict:
      target === undefined ? 'information' : missed ? `missed by ${share(1 - ratio / target)}` : 'reached',
  };
}

/** A row whose ratio to something else is to be at most `target`. */
export function within(what: string, ours: number, other: number, target: number, shown: Partial<Row>): Row {
  const ratio = ours / other;
  const verdict = ratio <= target ? 'reached' : `missed by ${share(ratio / target - 1)}`;
  return { what, ...shown, ratio: ratio.toFixed(2), target: `≤ ${target}`, verdict };
}

/** What else loads the machine when the benchmarks begin. */
export function header(): string {
  const [one = 0, five = 0] = loadavg();
  const memory = Math.round(totalmem() / 1e9);
  const busy = one > 0.5 ? ': NOT QUIET, read the spreads' : '';
  return `${cpus().length} cores, ${memory} GB; load before: ${one.toFixed(2)} (5 min: ${five.toFixed(2)})${busy}; Node ${process.versions.node}`;
}

/** The table as Markdown that is also aligned for a terminal. */
export function render(rows: readonly Row[]): string {
  const cells = [[...columns], ...rows.map((row) => columns.map((column) => row[column] ?? ''))];
  const widths = columns.map((_, i) => Math.max(3, ...cells.map((line) => [...line[i]!].length)));
  const line = (texts: readonly string[]) =>
    `| ${texts.map((text, i) => text + ' '.repeat(widths[i]! - [...text].length)).join(' | ')} |\n`;
  const [head = [], ...body] = cells;
  return line(head) + line(widths.map((width) => '-'.repeat(width))) + body.map(line).join('');
}

/** A row that only informs: how many times the floor ours takes. */
export function compared(what: string, ours: Sample, floor: Sample): Row {
  const ratio = (ours.median / floor.median).toFixed(2);
  return { what, ours: spread(ours), floor: spread(floor), ratio, verdict: 'information' };
}
