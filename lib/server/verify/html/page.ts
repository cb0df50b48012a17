import { isBad, type Row, type State } from '../row.ts';
import type { Verification } from '../verify.ts';
import { backupChart } from './chart.ts';
import { icon, STATES } from './icons.ts';
import { Markup, markup } from './markup.ts';
import { STYLE } from './style.ts';

/** Nothing is loaded, nothing runs: a page that quotes logs must not be able to do more than be read. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** The report as one page of HTML that is XML as well, without anything from elsewhere. */
export function page(found: Verification): string {
  const { app, at, hosts, rows, backups } = found;
  const when = `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
  const outside = rows.filter(({ host }) => host === undefined);
  return `<!DOCTYPE html>\n${markup`<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy" content="${POLICY}" />
<meta name="robots" content="noindex" />
<title>${verdict(rows).title}: ${app}, ${when}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<header>
<h1>${app}</h1>
<p class="soft">Checked on <time datetime="${at}">${when}</time>, from outside and on ${hosts.join(', ')}</p>
${banner(rows)}
${tiles(rows)}
</header>
<main>
${wanted(rows)}
${backups && backups.length > 0 ? markup`<section aria-labelledby="backups"><h2 id="backups">Backups</h2>${backupChart(backups)}</section>` : ''}
${group('outside', 'From outside', outside)}
${hosts.map((host, i) =>
  group(
    `host-${i + 1}`,
    `On ${host}`,
    rows.filter((row) => row.host === host),
  ),
)}
</main>
<footer><p>Made by opsbook's verify. It only looked; nothing was changed.</p></footer>
</body>
</html>`}\n`;
}

function verdict(rows: readonly Row[]): { state: State; title: string; text: string } {
  const bad = rows.filter(isBad).length;
  const warnings = rows.filter(({ state }) => state === 'warning').length;
  const [are, s] = bad === 1 ? ['wants', ''] : ['want', 's'];
  if (bad > 0) {
    const state = rows.some((row) => row.state === 'problem') ? 'problem' : 'unknown';
    return { state, title: `${bad} thing${s} ${are} attention`, text: 'What to do is said with each.' };
  }
  if (warnings > 0)
    return { state: 'warning', title: 'All works', text: 'Some things should be looked at soon.' };
  return { state: 'ok', title: 'All is well', text: 'Nothing is to be done.' };
}

function banner(rows: readonly Row[]): Markup {
  const { state, title, text } = verdict(rows);
  return markup`<div class="verdict ${state}" role="status">${icon(state)}<div><strong>${title}</strong><span>${text}</span></div></div>`;
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

/** What is to be done comes first, whichever host it is on. */
function wanted(rows: readonly Row[]): Markup | string {
  const bad = [...rows.filter(isBad), ...rows.filter(({ state }) => state === 'warning')];
  if (bad.length === 0) return '';
  return markup`<section aria-labelledby="todo"><h2 id="todo">What to do</h2><ul class="rows card">${bad.map((row) => item(row, true))}</ul></section>`;
}

function group(id: string, title: string, rows: readonly Row[]): Markup | string {
  if (rows.length === 0) return '';
  return markup`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2><ul class="rows card">${rows.map((row) => item(row, false))}</ul></section>
`;
}

function item({ check, host, state, found, expected, todo, lines = [] }: Row, whole: boolean): Markup {
  const { name } = STATES[state];
  const fine = state === 'ok' || state === 'unset';
  const where = whole && host ? markup`<dt>where</dt><dd>${host}</dd>` : '';
  const details = markup`<dl>${where}<dt>expected</dt><dd>${expected}</dd>${todo ? markup`<dt>to do</dt><dd class="todo">${todo}</dd>` : ''}</dl>`;
  const shown = lines.length > 0 ? markup`<pre>${lines.join('\n')}</pre>` : '';
  return markup`<li class="row ${state}"><span class="state">${icon(state)}${name}</span><span class="check">${check}</span><div class="found">${found}${fine || !whole ? '' : details}${whole ? shown : ''}</div></li>
`;
}
