import { type Command, show } from '../../command.ts';
import { type Compose, compose, OF_DEPLOYMENTS } from '../../compose.ts';
import { Failure, messageOf } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { parseSecret } from '../../secret.ts';
import { runForSecret } from '../../secret-output.ts';
import type { SecretsSettings } from './place.ts';

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
  const inspect: Command = { argv: ['docker', 'inspect', '--type', 'container', ...ids] };
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
    throw new Failure(`${command.argv[0]}: what it wrote ${messageOf(error)}`, {
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
