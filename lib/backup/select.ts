import { EXIT, Failure } from '../failure.ts';

const KINDS = new Map([
  ['databases', ['postgres', 'sqlite']],
  ['directories', ['directory']],
  ['buckets', ['bucket']],
  ['files', ['directory', 'bucket']],
]);

/** Those of `items` that `only` names, by name or by kind; all without it. @throws Failure on a name that is none */
export function select<T extends { kind: string; name: string }>(
  items: readonly T[],
  only: readonly string[] | undefined,
  where: string,
): T[] {
  if (!only) return [...items];
  const named = (name: string) =>
    items.filter((item) => item.name === name || KINDS.get(name)?.includes(item.kind));
  const unknown = only.filter((name) => named(name).length === 0);
  if (unknown.length > 0) {
    throw new Failure(`--only ${unknown.join(' ')}: no such part in ${where}`, {
      exit: EXIT.usage,
      next: `one of databases, directories, buckets, files, ${items.map((item) => item.name).join(', ')}`,
    });
  }
  return items.filter((item) => only.some((name) => named(name).includes(item)));
}
