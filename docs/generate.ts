import { globSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { appSettings } from '../lib/app.ts';
import { onlyDescribe } from '../lib/script.ts';
import type { Setting, Settings } from '../lib/settings.ts';

/** `npm run docs`: writes what can be said of the settings from the settings themselves. */
const root = dirname(import.meta.dirname);

/** A setting, and the scripts that read it as `area/script`; none are named where all do. */
export interface Entry {
  readonly setting: Setting<unknown>;
  readonly scripts: readonly string[];
  /** Those of them that can do without it, though another requires it. */
  readonly spared: readonly string[];
}

interface Section {
  title: string;
  entries: readonly Entry[];
}

/** The settings of each script as `area/name`, in order of its file. */
async function settingsOfScripts(): Promise<Map<string, Settings>> {
  const found = new Map<string, Settings>();
  for (const file of globSync('scripts/*/*.ts', { cwd: root }).sort()) {
    const area = basename(dirname(file));
    onlyDescribe((name, { settings }) => void found.set(`${area}/${name}`, settings));
    await import(join(root, file));
  }
  return found;
}

/**
 * Every setting once: those of all scripts, those of several areas, then each area's own. To be called once in a
 * process: scripts state their settings when they are imported.
 */
export async function sections(): Promise<Section[]> {
  const entries = new Map<string, { setting: Setting<unknown>; scripts: string[]; spared: string[] }>();
  for (const [script, settings] of await settingsOfScripts()) {
    for (const setting of Object.values(settings)) {
      const entry = entries.get(setting.name) ?? { setting, scripts: [], spared: [] };
      if (entry.setting.type !== setting.type) throw new Error(`${setting.name} is defined twice`);
      if (!setting.optional) entry.setting = setting;
      else entry.spared.push(script);
      entry.scripts.push(script);
      entries.set(setting.name, entry);
    }
  }
  const areaOf = ({ scripts }: Entry) => {
    const areas = new Set(scripts.map((script) => script.split('/')[0] ?? ''));
    return areas.size === 1 ? [...areas].join() : 'several areas';
  };
  const byArea = Map.groupBy(entries.values(), areaOf);
  const every = Object.values(appSettings).map((setting) => ({ setting, scripts: [], spared: [] }));
  return [
    { title: 'every script', entries: every },
    ...[...byArea].map(([title, of]) => ({ title, entries: of })).sort(byTitle),
  ];
}

const byTitle = (a: Section, b: Section) =>
  Number(b.title === 'several areas') - Number(a.title === 'several areas') || a.title.localeCompare(b.title);

const SETTINGS_INTRO = `# Settings

Settings come from the environment and from the files that \`--env-file\` names (default: \`.env\`); of two files the
later wins, and the environment wins over both. [.env.example](../.env.example) has all of them to copy from.
\`npm run docs\` writes this page and that file from the settings in \`lib/\`.

The files are read by [dotenv](https://github.com/motdotla/dotenv). Docker Compose usually reads them as well, as the
app's \`.env\`, by different rules: dotenv keeps \`\\"\`, \`\\\\\`, \`\\$\` and \`$$\` as they are, ends an unquoted value at any \`#\`, and
does not replace \`\${NAME}\`. A script refuses a setting that it uses and that the two read differently: it names the setting
and the file, and says how to write the value. Single quotes are safe for every value without a \`'\` and without a
backslash at its end: \`NAME='pa$$#word'\`. Variables that the script does not use may be written in any way that Compose
can read, and a value from the environment is taken as it is.
`;

const cell = (text: string) => text.replaceAll('|', '\\|');
const code = (text: string) => `\`${cell(text)}\``;

/** What stands in for a setting that is not given; undefined where it must be. */
function need(
  { optional, prefix, default: byDefault }: Setting<unknown>,
  shown: (value: string) => string,
): string | undefined {
  if (byDefault !== undefined) return shown(byDefault);
  return optional || prefix !== undefined ? '' : undefined;
}

function row({ setting, scripts, spared }: Entry): string {
  const { name, about, example } = setting;
  const needed = need(setting, code) ?? 'required';
  const cells = [code(name), cell(about), needed, code(example)];
  const reader = (script: string) =>
    `${script.split('/')[1]}${needed === 'required' && spared.includes(script) ? ' (optional)' : ''}`;
  if (scripts.length > 0) cells.push(scripts.map(reader).join(', '));
  return `| ${cells.join(' | ')} |`;
}

function settingsPage(all: readonly Section[]): string {
  const tables = all.map(({ title, entries }) => {
    const head = ['setting', 'what it is', 'default', 'example'];
    if (entries.some(({ scripts }) => scripts.length > 0)) head.push('read by');
    const rule = head.map(() => '---');
    const lines = [head, rule].map((cells) => `| ${cells.join(' | ')} |`);
    return `\n## ${title[0]?.toUpperCase()}${title.slice(1)}\n\n${[...lines, ...entries.map(row)].join('\n')}\n`;
  });
  return SETTINGS_INTRO + tables.join('');
}

function envExample(all: readonly Section[]): string {
  const block = ({ setting }: Entry) => {
    const { name, about, example } = setting;
    const needed = need(setting, (value) => ` (default: ${value})`) ?? ' (required)';
    return `# ${about}${needed}\n#${name}=${example}\n`;
  };
  const texts = all.map(({ title, entries }) => `\n# ── ${title}\n\n${entries.map(block).join('\n')}`);
  return `# Every setting of opsbook, written by "npm run docs". Copy what you need; docs/settings.md says who reads it.\n${texts.join('')}`;
}

/** The generated files by their path in the repository. */
export function documents(all: readonly Section[]): Record<string, string> {
  return { 'docs/settings.md': settingsPage(all), '.env.example': envExample(all) };
}

if (import.meta.main) {
  for (const [path, text] of Object.entries(documents(await sections())))
    writeFileSync(join(root, path), text);
}
