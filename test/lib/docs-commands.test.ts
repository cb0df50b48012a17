import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { sections } from '../../docs/generate.ts';
import { commandLine, literal, onlyDescribe } from '../../lib/script.ts';

const root = dirname(dirname(import.meta.dirname));
const pages = globSync('{README.md,docs/*.md,docs/runbooks/*.md}', { cwd: root }).sort();
const COMMAND = /npx tsx (scripts\/[\w/-]+\.ts)([^`\n#|]*)/g;

type Definition = Parameters<Parameters<typeof onlyDescribe>[0]>[1];
const definitions = new Map<string, Definition>();
for (const file of globSync('scripts/*/*.ts', { cwd: root })) {
  onlyDescribe((_, definition) => void definitions.set(file, definition));
  // Another query is another module: the ones that docs/generate.ts imports have described themselves to it.
  await import(`${join(root, file)}?commands`);
}

/** The words of a line as a shell makes them of it, for the two ways of quoting that our pages use. */
const words = (line: string) =>
  [...line.matchAll(/'([^']*)'|"([^"]*)"|([^\s'"]+)/g)].map(
    ([, single, double, bare]) => single ?? double ?? bare ?? '',
  );

for (const page of pages) {
  const commands = [...readFileSync(join(root, page), 'utf8').matchAll(COMMAND)];
  if (commands.length === 0) continue;
  test(`every command in ${page} is one that its script takes`, async () => {
    for (const [text, file = '', rest = ''] of commands) {
      const definition = definitions.get(file);
      assert.ok(definition, `${text}: there is no ${file}`);
      // Where a script is only named, nothing is said of its arguments.
      if (rest.trim() === '') continue;
      const program = await commandLine(basename(file, '.ts'), definition);
      program.configureOutput({ outputError: () => {} });
      const argv = words(rest.replace(/…|;.*|&&.*|>.*/g, ''));
      try {
        program.parse(literal(argv, definition.literalAfter), { from: 'user' });
      } catch (error) {
        assert.fail(`${text}: ${(error as Error).message}`);
      }
    }
  });
}

test('every setting in the pages of the five systems is one that there is', async () => {
  const names = (await sections()).flatMap(({ entries }) => entries.map(({ setting }) => setting));
  for (const page of globSync('docs/runbooks/*.md', { cwd: root })) {
    const text = readFileSync(join(root, page), 'utf8');
    const set = [...text.matchAll(/^([A-Z][A-Z_]+)=/gm)].map(([, name]) => name ?? '');
    assert.ok(set.length > 5, page);
    for (const name of set)
      assert.ok(
        names.some((setting) => setting.name === name || (setting.prefix && name.startsWith(setting.prefix))),
        `${page}: ${name}`,
      );
  }
});
