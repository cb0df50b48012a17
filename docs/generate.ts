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
}

interface Section {
  title: string;
  entries: readonly Entry[];
}

/** The settings of each script as `area/script`, in order of name. */
async function settingsOfScripts(): Promise<Map<string, Settings>> {
  const found = new Map<string, Settings>();
  for (const file of globSync('scripts/*/*.ts', { cwd: root }).sort()) {
    const script = `${basename(dirname(file))}/${basename(file, '.ts')}`;
    onlyDescribe((_, { settings }) => void found.set(script, settings));
    await import(join(root, file));
  }
  return found;
}

/**
 * Every setting once: those of all scripts, those of several areas, then each area's own. To be called once in a
 * process: scripts state their settings when they are imported.
 */
export async function sections(): Promise<Section[]> {
  const entries = new Map<string, { setting: Setting<unknown>; scripts: string[] }>();
  for (const [script, settings] of await settingsOfScripts()) {
    for (const setting of Object.values(settings)) {
      const entry = entries.get(setting.name) ?? { setting, scripts: [] };
      if (entry.setting.type !== setting.type) throw new Error(`${setting.name} is defined twice`);
      // Some scripts can do without what another requires.
      if (!setting.optional) entry.setting = setting;
      entry.scripts.push(script);
      entries.set(setting.name, entry);
    }
  }
  const areaOf = ({ scripts }: Entry) => {
    const areas = new Set(scripts.map((script) => script.split('/')[0] ?? ''));
    return areas.size === 1 ? [...areas].join() : 'several areas';
  };
  const byArea = Map.groupBy(entries.values(), areaOf);
  const every = Object.values(appSettings).map((setting) => ({ setting, scripts: [] }));
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
`;

const cell = (text: string) => text.replaceAll('|', '\\|');
const code = (text: string) => `\`${cell(text)}\``;

function row({ setting, scripts }: Entry): string {
  const { name, about, optional, default: byDefault, example } = setting;
  const needed = byDefault === undefined ? (optional ? '' : 'required') : code(byDefault);
  const cells = [code(name), cell(about), needed, code(example)];
  if (scripts.length > 0) cells.push(scripts.map((script) => script.split('/')[1]).join(', '));
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
  const block = ({ setting: { name, about, example, optional, default: byDefault } }: Entry) => {
    const needed = byDefault === undefined ? (optional ? '' : ' (required)') : ` (default: ${byDefault})`;
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
