import { rename, rm, writeFile } from 'node:fs/promises';
import { Failure } from '../failure.ts';
import { bytes, count } from '../format.ts';
import { mask } from '../secret.ts';
import { type Backup, isBad, type Row, type State, type Verification } from './verify-report.ts';

/**
 * Writes the report for its owner alone, whole or not at all: what a browser has open is never half of one.
 * @throws Failure when it cannot be written there
 */
export async function writePage(file: string, found: Verification): Promise<void> {
  const fresh = `${file}.${process.pid}.new`;
  try {
    // Masked before it is escaped: escaping changes a secret that has a & in it.
    const html = page(JSON.parse(mask(JSON.stringify(found))) as Verification);
    await writeFile(fresh, html, { flag: 'wx', mode: 0o600, flush: true });
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => {});
    const code = (error as NodeJS.ErrnoException).code;
    throw new Failure(`--html ${file}: not written (${code})`, {
      next: 'name a file in a folder that you may write to',
      cause: error,
    });
  }
}

/** Nothing is loaded, nothing runs: a page that quotes logs must not be able to do more than be read. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** The report as one page of HTML that is XML as well, without anything from elsewhere. */
export function page(found: Verification): string {
  const { app, at, hosts, rows, backups } = found;
  const when = `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
  const { state, title, text } = verdict(rows);
  const bad = [...rows.filter(isBad), ...rows.filter((row) => row.state === 'warning')];
  const of = (host?: string) => rows.filter((row) => row.host === host);
  return `<!DOCTYPE html>\n${markup`<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy" content="${POLICY}" />
<meta name="robots" content="noindex" />
<title>${title}: ${app}, ${when}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<header>
<h1>${app}</h1>
<p class="soft">Checked on <time datetime="${at}">${when}</time>, from outside and on ${hosts.join(', ')}</p>
<div class="verdict ${state}" role="status">${icon(state)}<div><strong>${title}</strong><span>${text}</span></div></div>
${tiles(rows)}
</header>
<main>
${list('todo', 'What to do', bad, true)}
${backups && backups.length > 0 ? section('backups', 'Backups', backupChart(backups)) : ''}
${list('outside', 'From outside', of())}
${hosts.map((host, i) => list(`host-${i + 1}`, `On ${host}`, of(host)))}
</main>
<footer><p>Made by opsbook's verify. It only reads, and changed nothing.</p></footer>
</body>
</html>`}\n`;
}

function verdict(rows: readonly Row[]): { state: State; title: string; text: string } {
  const bad = rows.filter(isBad).length;
  const warnings = rows.filter(({ state }) => state === 'warning').length;
  if (bad > 0) {
    const state = rows.some((row) => row.state === 'problem') ? 'problem' : 'unknown';
    const title = `${count(bad, 'thing')} need${bad === 1 ? 's' : ''} attention`;
    return { state, title, text: 'Each says what to do.' };
  }
  if (warnings > 0)
    return { state: 'warning', title: 'All works', text: 'Some things should be looked at soon.' };
  return { state: 'ok', title: 'All is well', text: 'Nothing to do.' };
}

function tiles(rows: readonly Row[]): Markup {
  const items = (Object.keys(STATES) as State[]).map((state) => {
    const n = rows.filter((row) => row.state === state).length;
    const { name, plural } = STATES[state];
    return markup`<li class="${state}">${icon(state)}<div><b>${n}</b><span class="soft">${n === 1 ? name.toLowerCase() : plural}</span></div></li>
`;
  });
  return markup`<ul class="tiles" aria-label="Summary">${items}</ul>`;
}

const section = (id: string, title: string, body: Markup): Markup =>
  markup`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${body}</section>
`;

const list = (id: string, title: string, rows: readonly Row[], whole = false): Markup | string =>
  rows.length > 0
    ? section(id, title, markup`<ul class="rows card">${rows.map((row) => item(row, whole))}</ul>`)
    : '';

/** A row; with what was expected and what to do where it is shown whole. */
function item({ check, host, state, found, expected, todo, lines = [] }: Row, whole: boolean): Markup {
  const where = host ? markup`<dt>where</dt><dd>${host}</dd>` : '';
  const details = markup`<dl>${where}<dt>expected</dt><dd>${expected}</dd>${todo ? markup`<dt>to do</dt><dd class="todo">${todo}</dd>` : ''}</dl>`;
  const shown = lines.length > 0 ? markup`<pre>${lines.join('\n')}</pre>` : '';
  return markup`<li class="row ${state}"><span class="state">${icon(state)}${STATES[state].name}</span><span class="check">${check}</span><div class="found">${found}${whole ? [details, shown] : ''}</div></li>
`;
}

const WIDTH = 720;
const HEIGHT = 240;
const PLOT = { left: 72, right: 708, top: 24, bottom: 204 };
/** More than these bars are a wall. */
const SHOWN = 120;
const LEAST_BAR = 3;

const NAMES = { complete: 'complete', partial: 'partial', unfinished: 'never finished' } as const;

/** The history of the backups: their sizes by time, and those that are not complete marked as such. */
function backupChart(backups: readonly Backup[]): Markup {
  const shown = backups.slice(-SHOWN);
  const incomplete = shown.filter(({ state }) => state !== 'complete').length;
  const text = `${shown.length} backups, ${incomplete} of them incomplete; the last is of ${shown.at(-1)?.started ?? 'never'}`;
  return markup`<div class="card chart">
<div class="scroll" tabindex="0" role="region" aria-label="History of the backups">
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="chart-title chart-text">
<title id="chart-title">Size of each backup by time</title>
<desc id="chart-text">${text}</desc>
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
  const place = (time: number, i: number): [number, string] => {
    if (days.length > 1 && i === 0) return [PLOT.left, 'start'];
    if (days.length > 1 && i === days.length - 1) return [PLOT.right, 'end'];
    return [x(time), 'middle'];
  };
  return days.map((time, i) => {
    const [left, anchor] = place(time, i);
    return markup`<text x="${at(left)}" y="${PLOT.bottom + 22}" text-anchor="${anchor}">${day(time)}</text>`;
  });
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

/** Text that is markup already. */
class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

type Part = string | number | Markup | readonly Part[];

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' },
};

/** What XML has no way to write, whichever way it is escaped. */
const UNWRITABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/g;

function render(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (Array.isArray(part)) return part.map(render).join('');
  return String(part)
    .replaceAll(UNWRITABLE, '\ufffd')
    .replaceAll(/[&<>"']/g, (c) => ENTITIES[c] ?? '');
}

/** A template of markup: whatever is put into it is escaped, unless it is markup itself. */
const markup = (strings: TemplateStringsArray, ...parts: Part[]): Markup =>
  new Markup(strings.map((text, i) => text + (i < parts.length ? render(parts[i] ?? '') : '')).join(''));

/** Each state's name, and a shape of its own: who sees no colours sees these. */
const STATES: Readonly<Record<State, { name: string; plural: string }>> = {
  problem: { name: 'Problem', plural: 'problems' },
  unknown: { name: 'Unknown', plural: 'unknown' },
  warning: { name: 'Warning', plural: 'warnings' },
  ok: { name: 'OK', plural: 'ok' },
  unset: { name: 'Not set', plural: 'not set' },
};

const SHAPES: Readonly<Record<State, Markup>> = {
  ok: markup`<circle cx="12" cy="12" r="10" /><path d="M7.5 12.5l3 3 6-7" />`,
  warning: markup`<path d="M12 2.5L22.5 21h-21z" /><path d="M12 9.5v5M12 17.6v.4" />`,
  problem: markup`<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z" /><path d="M8.5 8.5l7 7M15.5 8.5l-7 7" />`,
  unknown: markup`<path d="M12 1.5L22.5 12 12 22.5 1.5 12z" /><path d="M9.7 9.6a2.4 2.4 0 1 1 3.6 2.1c-.9.5-1.3 1-1.3 2M12 16.6v.4" />`,
  unset: markup`<circle cx="12" cy="12" r="10" stroke-dasharray="4 3" /><path d="M8 12h8" />`,
};

/** The icon of a state; the text beside it says the same. */
const icon = (state: State): Markup =>
  markup`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${SHAPES[state]}</svg>`;

/**
 * The page's own style. The colours are Okabe and Ito's, which the colour-blind tell apart, darkened or lightened to a
 * contrast of 4.5 with what they stand on; no state is shown by its colour alone.
 */
const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --card: #fff; --text: #1b1f24; --soft: #57606a; --line: #d8dde3; --code: #f0f2f5;
  --ok: #00694d; --warning: #7d5200; --problem: #a83800; --unknown: #87356b; --unset: #57606a;
  --ok-bg: #e2f4ee; --warning-bg: #fdf1d8; --problem-bg: #fdeae1; --unknown-bg: #f8e8f2; --unset-bg: #eef0f3;
  --bar: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #171b22; --text: #e8ebef; --soft: #a3acb8; --line: #2d343e; --code: #10141a;
    --ok: #4ccba4; --warning: #f2bd55; --problem: #ff9168; --unknown: #e9a3cd; --unset: #a3acb8;
    --ok-bg: #0f2b23; --warning-bg: #33270d; --problem-bg: #381a0e; --unknown-bg: #321a2a; --unset-bg: #20262e;
    --bar: #56b4e9;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main, header, footer { max-width: 60rem; margin-inline: auto; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
.verdict {
  display: flex; gap: 1rem; align-items: center; padding: 1.25rem 1.5rem; margin-top: 1.25rem;
  border-radius: 12px; border: 1px solid; border-inline-start-width: 6px;
}
.verdict strong { font-size: 1.25rem; display: block; line-height: 1.3; }
.icon { width: 1.25rem; height: 1.25rem; flex: none; }
.verdict .icon { width: 2.5rem; height: 2.5rem; }
.ok { --c: var(--ok); --b: var(--ok-bg); }
.warning { --c: var(--warning); --b: var(--warning-bg); }
.problem { --c: var(--problem); --b: var(--problem-bg); }
.unknown { --c: var(--unknown); --b: var(--unknown-bg); }
.unset { --c: var(--unset); --b: var(--unset-bg); }
.verdict { background: var(--b); border-color: var(--c); }
.verdict .icon, .state { color: var(--c); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .75rem 1rem; display: flex; gap: .75rem; align-items: center; }
.tiles b { font-size: 1.5rem; line-height: 1.1; display: block; font-variant-numeric: tabular-nums; }
.tiles .icon { color: var(--c); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
ul.rows { list-style: none; margin: 0; padding: 0; }
.row { display: grid; grid-template-columns: 8.5rem 7rem minmax(0, 1fr); gap: .25rem 1rem; padding: .75rem 1.25rem; align-items: start; }
.row + .row { border-top: 1px solid var(--line); }
.row.problem, .row.unknown { background: var(--b); }
.state { display: inline-flex; gap: .5rem; align-items: center; font-weight: 600; font-size: .9rem; line-height: 1.5rem; }
.state .icon { width: 1.1rem; height: 1.1rem; }
.check { font-weight: 600; }
.found { overflow-wrap: anywhere; }
.found dl { margin: .35rem 0 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem .75rem; font-size: .925rem; }
.found dt { color: var(--soft); }
.found dd { margin: 0; }
.found dd.todo { font-weight: 600; }
pre { margin: .5rem 0 0; padding: .5rem .75rem; background: var(--code); border: 1px solid var(--line); border-radius: 8px; font: .8rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.chart { padding: 1rem 1.25rem; }
.scroll { overflow-x: auto; }
.scroll svg { display: block; min-width: 34rem; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.scroll text { fill: var(--soft); }
.grid { stroke: var(--line); }
.bar { fill: var(--bar); }
.bar.partial, .bar.unfinished { fill: url(#hatch); stroke: var(--problem); stroke-width: 1.5; stroke-dasharray: 3 2; }
.cross { stroke: var(--problem); stroke-width: 2; fill: none; }
.hatch { stroke: var(--problem); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: .5rem 0 0; padding: 0; list-style: none; font-size: .9rem; color: var(--soft); }
.legend svg { width: 1rem; height: 1rem; vertical-align: -.15rem; margin-inline-end: .4rem; }
details { margin-top: .75rem; font-size: .925rem; }
summary { cursor: pointer; color: var(--soft); padding: .25rem 0; }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; font-variant-numeric: tabular-nums; }
th, td { text-align: start; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: end; }
footer { margin-top: 2.5rem; font-size: .875rem; color: var(--soft); }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; border-radius: 4px; }
@media (max-width: 44rem) {
  body { padding-top: 1.25rem; }
  .row { grid-template-columns: 1fr 1fr; padding: .75rem 1rem; }
  .row .found { grid-column: 1 / -1; }
}
@media print {
  body { background: #fff; padding: 0; }
  .row, .verdict, .tiles li, .chart { break-inside: avoid; }
  .scroll svg { min-width: 0; }
}
`;
