import { type Compose, compose, OF_DEPLOYMENTS } from '../compose.ts';
import { EXIT, Failure, messageOf, sentence } from '../failure.ts';
import { count, table } from '../format.ts';
import { runForSecret } from '../host-files.ts';
import type { Report } from '../output.ts';
import { parseSecret } from '../secret.ts';
import { type Command, cmd, type Host, show } from '../shell.ts';
import { changedNames, type Made } from './env-template.ts';
import type { EnvFile, SecretsSettings } from './secrets.ts';

/** A container of a compose app, as the service that it is of. */
export interface Service {
  readonly name: string;
  readonly container: string;
  readonly running: boolean;
  /** Its image is PostgreSQL's, or made like it. */
  readonly isPostgres: boolean;
  /** What Compose would start it with, by name. */
  readonly environment: ReadonlyMap<string, string>;
  /** What of that the running container does not have, or has with another value; `command` is its command line. */
  readonly stale: readonly string[];
}

interface Configured {
  environment?: Record<string, string | null>;
  command?: string[] | null;
}

interface Inspected {
  Name: string;
  State: { Running: boolean };
  Config: { Env: string[] | null; Cmd: string[] | null; Labels: Record<string, string> };
}

/** `docker compose …` for the app. */
export const secretsCompose = (host: Host, settings: SecretsSettings): Pick<Compose, 'command'> =>
  compose(host, settings.APP_DIR, settings);

/**
 * The containers of the app, and what each has of another time: a container keeps the environment that it was
 * made with, whatever `restart` does. Empty where the folder is no compose app.
 */
export async function containersOf(host: Host, settings: SecretsSettings): Promise<Service[]> {
  const { command } = secretsCompose(host, settings);
  const configured = await configuredServices(host, command('config', '--format', 'json'));
  if (!configured) return [];
  const ids = (await host.run(command('ps', '--all', '--quiet'))).split('\n').filter(Boolean);
  if (ids.length === 0) return [];
  const inspect: Command = cmd`docker inspect --type container ${ids}`;
  return (await answerOf<Inspected[]>(host, inspect))
    .map((container) => compared(container, configured))
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** Those of the containers that run. */
export const runningServices = async (host: Host, settings: SecretsSettings): Promise<Service[]> =>
  (await containersOf(host, settings)).filter(({ running }) => running);

/** The environment of every service, whether it runs or not; empty where the folder is no compose app. */
export async function environments(
  host: Host,
  settings: SecretsSettings,
): Promise<Map<string, Service['environment']>> {
  const { command } = secretsCompose(host, settings);
  const configured = await configuredServices(host, command('config', '--format', 'json'));
  return new Map(Object.entries(configured ?? {}).map(([name, service]) => [name, environmentOf(service)]));
}

async function configuredServices(
  host: Host,
  config: Command,
): Promise<Record<string, Configured> | undefined> {
  try {
    return (await answerOf<{ services: Record<string, Configured> }>(host, config)).services;
  } catch (error) {
    if (error instanceof Failure && /no configuration file provided/.test(error.message)) return undefined;
    throw error;
  }
}

/** What a command of docker tells in JSON, passwords and all. @throws Failure that quotes nothing of it */
async function answerOf<T>(host: Host, command: Command): Promise<T> {
  const text = await runForSecret(host, command);
  try {
    return parseSecret<T>(text);
  } catch (error) {
    throw new Failure(`docker: what it wrote ${messageOf(error)}`, {
      next: `try it by hand: ${show(command)}`,
    });
  }
}

function compared({ Name, State, Config }: Inspected, configured: Record<string, Configured>): Service {
  const name = Config.Labels['com.docker.compose.service'] ?? Name;
  const { command } = configured[name] ?? {};
  const wanted = environmentOf(configured[name]);
  const has = new Map((Config.Env ?? []).map(splitAtEquals));
  const differs = ([key, value]: [string, string]) => key !== OF_DEPLOYMENTS && has.get(key) !== value;
  const stale = [...wanted].filter(differs).map(([key]) => key);
  if (command && !sameWords(command.map(undoubled), Config.Cmd ?? [])) stale.push('command');
  const is = { running: State.Running, isPostgres: has.has('PGDATA') };
  return { name, container: Name.replace(/^\//, ''), ...is, environment: wanted, stale };
}

const environmentOf = ({ environment = {} }: Configured = {}) =>
  new Map(
    Object.entries(environment).flatMap(([key, value]) => (value === null ? [] : [[key, undoubled(value)]])),
  );

/** `config` writes every `$` of a value twice. */
const undoubled = (text: string) => text.replaceAll('$$', '$');

const sameWords = (a: readonly string[], b: readonly string[]) => JSON.stringify(a) === JSON.stringify(b);

function splitAtEquals(entry: string): [string, string] {
  const at = entry.indexOf('=');
  return [entry.slice(0, at), entry.slice(at + 1)];
}

/** The services whose containers have to be made anew. */
export const staleNames = (services: readonly Service[]): string[] => [
  ...new Set(services.filter(({ stale }) => stale.length > 0).map(({ name }) => name)),
];

/** The command that gives services what is in the env file now; `restart` would not. */
export function recreateCommand(host: Host, settings: SecretsSettings, services: readonly string[]): string {
  return show(secretsCompose(host, settings).command('up', '--detach', ...services));
}

/** Says which running services still have what the env file said before, and returns them. */
export async function tellStale(host: Host, settings: SecretsSettings, report: Report): Promise<string[]> {
  try {
    const stale = staleNames(await runningServices(host, settings));
    if (stale.length === 0) return [];
    const next = `cd ${settings.APP_DIR} && ${recreateCommand(host, settings, stale)}`;
    report.warn(`${stale.join(', ')} still run with what the file said before. Next: ${next}`);
    return stale;
  } catch (error) {
    // The file is written all the same.
    report.warn(`which services have to be recreated is not known: ${sentence(error)}`);
    return [];
  }
}

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
