import { EXIT, Failure } from '../../failure.ts';
import { count, table } from '../../format.ts';
import { changedNames } from './changes.ts';
import type { Service } from './containers.ts';
import type { Made } from './make.ts';
import type { EnvFile } from './place.ts';

/** One thing that is not as the store says. */
export interface Drift {
  /** The env file, or a service. */
  readonly where: string;
  readonly name: string;
  readonly what: string;
}

/** What differs between the store, the env file and the running containers. */
export function drift(file: EnvFile, made: Made, services: readonly Service[]): Drift[] {
  const where = file.path;
  const inFile = changedNames(made.marks).map((name) => ({
    ...{ where, name },
    what: file.entries.has(name) ? 'differs from the store' : 'is not in the file',
  }));
  const open = file.open ? [{ where, name: '(mode)', what: 'others than its owner may read it' }] : [];
  const running = services.flatMap(({ name: where, stale }) =>
    stale.map((name) => ({ where, name, what: 'the container has another one than the file' })),
  );
  return [...open, ...inFile, ...running];
}

export const describeDrift = (found: readonly Drift[]): string =>
  found.length === 0
    ? 'the store, the file and the containers agree'
    : table([['where', 'name', 'what'], ...found.map(({ where, name, what }) => [where, name, what])]);

/** @throws Failure with exit 3 when there is any */
export function refuseDrift(found: readonly Drift[], file: EnvFile, recreate: string): void {
  if (found.length === 0) return;
  const inFile = found.some(({ where }) => where === file.path);
  throw new Failure(`${count(found.length, 'difference')} between the store, the file and the containers`, {
    exit: EXIT.problem,
    next: inFile ? 'run fetch-secrets without --check' : recreate,
  });
}
