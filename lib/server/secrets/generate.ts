import { Failure } from '../../failure.ts';
import type { Secret } from '../../secret.ts';
import type { Values } from './entries.ts';
import { draw } from './generator.ts';
import type { EnvFile } from './place.ts';
import { type Secrets, throwAll } from './secrets.ts';
import { generators, type Template } from './template.ts';

/** New values for those generated secrets that have none. */
export function drawMissing(template: Template, existing: Values): Map<string, Secret> {
  const missing = [...generators(template)].filter(([name]) => !existing.has(name));
  return new Map(missing.map(([name, generator]) => [name, draw(generator)]));
}

/**
 * A value that only the file has is in use: another one in the store would lock the app out at the next fetch.
 * @throws Problems naming them, and what the store has under a name and is no text
 */
export function refuseOverwriting(drawn: Values, file: EnvFile, { unfit }: Secrets): void {
  const names = [...drawn.keys()];
  const used = names.filter((name) => file.entries.get(name));
  const wrong = names.filter((name) => unfit.has(name));
  throwAll([
    ...used.map((name) => {
      const message = `${name} has a value in ${file.path}, and none in the store`;
      return new Failure(message, { next: 'store that one: push-secrets' });
    }),
    ...wrong.map((name) => new Failure(unfit.get(name) ?? name, { next: 'remove it there, or correct it' })),
  ]);
}
