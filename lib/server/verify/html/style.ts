/**
 * The page's own style. The colours are Okabe and Ito's, which the colour-blind tell apart, darkened or lightened to a
 * contrast of 4.5 with what they stand on; no state is told by its colour alone.
 */
export const STYLE = `
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
