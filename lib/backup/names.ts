import { EXIT, Failure } from '../failure.ts';

/** Characters that would end a line, or steer a terminal. */
export const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

/** What the settings name as a part: `as` is what `?name=` behind it says. */
interface Named {
  as?: string;
}

/** What a part is called: as `?name=` says, or as what it is of. */
export const partName = (address: Named & ({ name: string } | { database: string })): string =>
  address.as ?? ('database' in address ? address.database : address.name);

/** The part's name that an item of a setting gives behind it (`…?name=orders`), and the item without that. */
export function takeName(raw: string): { item: string } & Named {
  const found = /^(.*)(\?|\?.*&)name=([^&]*)(.*)$/s.exec(raw);
  if (!found) return { item: raw };
  const [, before = '', between = '', as = '', behind = ''] = found;
  const rest = between === '?' ? behind.replace('&', '?') : between.slice(0, -1) + behind;
  return { item: before + rest, as: checkedName(as) };
}

/** @throws Error for a name that is not fit for keys and files */
export function checkedName(name: string): string {
  if (/^[A-Za-z0-9][\w.-]*$/.test(name)) return name;
  throw new Error('has a ?name= that is none: letters, digits, ".", "_" and "-"');
}

/** A part's name as a segment of a key: a database may be called anything. */
export const keyName = (name: string): string => name.replaceAll(/[%/\\]/g, encodeURIComponent);

/** A part, and where the settings name it. */
export interface Item {
  kind: string;
  name: string;
  /** As messages show it. */
  uri: string;
  setting: string;
}

/**
 * Refuses parts of one kind and one name: one would be stored over the other, and be restored into it.
 * @returns a failure for each that is named like one before it
 */
export function sameNames(items: readonly Item[]): Failure[] {
  const names = new Set(items.map(({ name }) => name));
  return items.flatMap((item, at) => {
    const first = items.slice(0, at).find(({ kind, name }) => kind === item.kind && name === item.name);
    if (!first) return [];
    const { setting, uri, name } = item;
    if (first.uri === uri)
      return [new Failure(`${setting} names ${uri} twice`, { exit: EXIT.usage, next: 'name it once' })];
    const suggested = suggestion(uri, name, names);
    return [
      new Failure(`${setting}: the parts of ${first.uri} and ${uri} would both be called ${name}`, {
        exit: EXIT.usage,
        next: `name the second: write ${uri}${uri.includes('?') ? '&' : '?'}name=${suggested}`,
      }),
    ];
  });
}

/** Refuses names that no message and no key could show as they are: a database may be called anything. */
export const unfitNames = (items: readonly Item[]): Failure[] =>
  items
    .filter(({ name }) => CONTROLS.test(name))
    .map(
      ({ setting, uri }) =>
        new Failure(`${setting}: the name of the part of ${uri} would have control characters`, {
          exit: EXIT.usage,
          next: 'name it: write ?name=NAME behind it',
        }),
    );

/** A name that tells where it comes from: the segment before the last, and its own. */
function suggestion(uri: string, name: string, taken: Set<string>): string {
  const [path = ''] = uri.replace(/^[a-z]+:\/\/+(?:[^@/]*@)?/, '').split('?');
  const segments = path.split('/').filter((segment) => !/^\.*$/.test(segment));
  const from = segments.length > 1 ? segments.at(-2) : uri.replace(/^.*endpoint=\w+:\/\//, '');
  const base = `${from}-${name}`.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+/, '');
  let suggested = base;
  for (let n = 2; taken.has(suggested); n += 1) suggested = `${base}-${n}`;
  taken.add(suggested);
  return suggested;
}
