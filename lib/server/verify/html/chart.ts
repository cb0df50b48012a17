import { bytes } from '../../../format.ts';
import type { Backup } from '../outside/backup.ts';
import { type Markup, markup } from './markup.ts';

const WIDTH = 720;
const HEIGHT = 240;
const PLOT = { left: 72, right: 708, top: 24, bottom: 204 };
/** More than these bars are a wall. */
const SHOWN = 120;
const LEAST_BAR = 3;

const NAMES = { complete: 'complete', partial: 'partial', unfinished: 'never finished' } as const;

/** The history of the backups: their sizes by time, and those that are not complete marked as such. */
export function backupChart(backups: readonly Backup[]): Markup {
  const shown = backups.slice(-SHOWN);
  const incomplete = shown.filter(({ state }) => state !== 'complete').length;
  const told = `${shown.length} backups, ${incomplete} of them incomplete; the last is of ${shown.at(-1)?.started ?? 'never'}`;
  return markup`<div class="card chart">
<div class="scroll" tabindex="0" role="region" aria-label="History of the backups">
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="chart-title chart-text">
<title id="chart-title">Size of each backup by time</title>
<desc id="chart-text">${told}</desc>
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0v6" /></pattern></defs>
${plot(shown)}
</svg>
</div>
${legend(incomplete > 0)}
${asTable(shown)}
</div>`;
}

function plot(shown: readonly Backup[]): Markup {
  const top = scaleTop(Math.max(0, ...shown.map((one) => one.bytes)));
  const y = (size: number) => PLOT.bottom - (size / top) * (PLOT.bottom - PLOT.top);
  const times = shown.map(({ started }) => Date.parse(started));
  const { x, width } = timeScale(times);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * top);
  return markup`${ticks.map(
    (size) =>
      markup`<path class="grid" d="M${PLOT.left} ${at(y(size))}H${PLOT.right}" /><text x="${PLOT.left - 8}" y="${at(y(size) + 4)}" text-anchor="end">${bytes(Math.round(size))}</text>
`,
  )}${shown.map((one, i) => bar(one, x(times[i] ?? 0), width, y(one.bytes)))}${dates(times, x)}`;
}

const at = (position: number) => Math.round(position * 10) / 10;

function bar({ id, state, bytes: size, started }: Backup, middle: number, width: number, y: number): Markup {
  const from = Math.min(y, PLOT.bottom - LEAST_BAR);
  const [left, cross] = [middle - width / 2, from - 10];
  const mark = markup`<path class="cross" d="M${at(middle - 4)} ${at(cross - 4)}l8 8m0 -8l-8 8" />`;
  return markup`<g><title>${id}: ${bytes(size)}, ${NAMES[state]}, ${day(Date.parse(started))}</title><rect class="bar ${state}" x="${at(left)}" y="${at(from)}" width="${at(width)}" height="${at(PLOT.bottom - from)}" rx="${at(Math.min(2, width / 2))}" />${state === 'complete' ? '' : mark}</g>
`;
}

/** Bars at their times, as wide as the shortest distance of two lets them be. */
function timeScale(times: readonly number[]): { x: (time: number) => number; width: number } {
  const [first = 0, last = 0] = [times[0], times.at(-1)];
  const inner = PLOT.right - PLOT.left;
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const usual = gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? 0;
  const slots = usual > 0 ? (last - first) / usual + 1 : 1;
  const width = Math.max(2, Math.min(28, (inner / slots) * 0.7));
  const span = inner - width - 16;
  const x = (time: number) =>
    last === first
      ? PLOT.left + inner / 2
      : PLOT.left + 8 + width / 2 + ((time - first) / (last - first)) * span;
  return { x, width };
}

/** The dates of the first, the middle and the last, as far as they are different days. */
function dates(times: readonly number[], x: (time: number) => number): Markup[] {
  const [first = 0, last = 0] = [times[0], times.at(-1)];
  const chosen = times.length === 0 ? [] : [first, (first + last) / 2, last];
  const days = chosen.filter((time, i) => chosen.findIndex((other) => day(other) === day(time)) === i);
  const anchor = (i: number) =>
    days.length === 1 ? 'middle' : i === 0 ? 'start' : i === days.length - 1 ? 'end' : 'middle';
  const edge = (time: number, i: number) => {
    if (days.length === 1) return x(time);
    return i === 0 ? PLOT.left : i === days.length - 1 ? PLOT.right : x(time);
  };
  return days.map(
    (time, i) =>
      markup`<text x="${at(edge(time, i))}" y="${PLOT.bottom + 22}" text-anchor="${anchor(i)}">${day(time)}</text>`,
  );
}

const day = (time: number) => new Date(time).toISOString().slice(0, 10);

/** The smallest 1, 2, 4 or 8 with zeros behind it that is not less. */
function scaleTop(most: number): number {
  if (most <= 0) return 1000;
  const power = 10 ** Math.floor(Math.log10(most));
  return ([1, 2, 4, 8, 10].find((n) => n * power >= most) ?? 10) * power;
}

const legend = (incomplete: boolean): Markup => markup`<ul class="legend">
<li><svg viewBox="0 0 16 16" aria-hidden="true"><rect class="bar" x="2" y="2" width="12" height="12" rx="2" /></svg>complete</li>
${incomplete ? markup`<li><svg viewBox="0 0 16 16" aria-hidden="true"><path class="cross" d="M4 4l8 8m0 -8l-8 8" /></svg>partial, or never finished</li>` : ''}
</ul>`;

const asTable = (shown: readonly Backup[]): Markup => markup`<details><summary>The same as a table</summary>
<table><thead><tr><th scope="col">backup</th><th scope="col">state</th><th scope="col" class="number">size</th></tr></thead>
<tbody>${shown.toReversed().map(
  ({ id, state, bytes: size }) =>
    markup`<tr><td>${id}</td><td>${NAMES[state]}</td><td class="number">${bytes(size)}</td></tr>
`,
)}</tbody></table></details>`;
