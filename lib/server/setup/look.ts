import { type Command, quote } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { Item } from './item.ts';

/** How an item stands: as wanted, something else in its place, nothing there, or not to be made. */
export type Standing = 'so' | 'other' | 'absent' | 'barred';

/** How a word is written in a shell's text. */
type Write = (word: string) => string;

/** A command as a shell, which is root's already, runs it. */
export function line({ argv, env = {}, cwd }: Command, write: Write = quote): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${write(String(value))}`);
  const words = [...(variables.length > 0 ? ['env', ...variables] : []), ...argv.map(write)].join(' ');
  return cwd === undefined ? words : `(cd ${write(cwd)} && ${words})`;
}

/** Defines `quietly`, which a shell's `if` runs a command by: nothing is read, nothing is said. */
export const QUIETLY = 'quietly() { "$@" </dev/null >/dev/null 2>&1; }';

/** One text for all looks: over SSM each command takes a second. */
export function lookText(items: readonly Item[]): string {
  const looks = items.map(({ so, there, only }, i) =>
    [
      `if quietly ${line(so)}; then echo ${i} so`,
      ...(only ?? []).map(({ when }) => `elif ! quietly ${line(when)}; then echo ${i} barred`),
      ...(there ? [`elif quietly ${line(there)}; then echo ${i} other`] : []),
      `else echo ${i} absent; fi`,
    ].join('\n'),
  );
  return `export LC_ALL=C.UTF-8\n${QUIETLY}\n${looks.join('\n')}\n`;
}

/** Why an item is barred: the first of its conditions that does not hold. */
export async function barring(host: Host, { title, only = [] }: Item): Promise<string | undefined> {
  const found = await look(
    host,
    only.map(({ when }) => ({ title, so: when, make: [] })),
  );
  return only[found.findIndex((standing) => standing !== 'so')]?.otherwise;
}

/** How each item stands on the host, in their order. */
export async function look(host: Host, items: readonly Item[]): Promise<Standing[]> {
  const text = await host.run({ argv: ['sh'], root: true }, lookText(items));
  const found = new Map(text.split('\n').map((row) => row.split(' ') as [string, Standing]));
  return items.map(({ title }, i) => {
    const standing = found.get(String(i));
    if (standing) return standing;
    throw new Failure(`${host.name} did not say how it stands with: ${title}`, { next: 'run it again' });
  });
}
