import { type Command, cmd, show } from '../command.ts';
import { compose, OF_DEPLOYMENTS } from '../compose.ts';
import { Failure, messageOf, sentence } from '../failure.ts';
import { runForSecret } from '../host-files.ts';
import type { Report } from '../output.ts';
import { parseSecret } from '../secret.ts';
import type { Host } from '../shell.ts';
import type { SecretsSettings } from './secret-settings.ts';

/** What Compose starts a service with, by name. */
export type Variables = ReadonlyMap<string, string>;

/** A container of a compose app. */
export interface Container {
  readonly service: string;
  readonly name: string;
  readonly running: boolean;
  /** Its image is PostgreSQL's, or made like it. */
  readonly isPostgres: boolean;
  /**
   * Variables that it has with another value than Compose would start it with now, or does not have; `command` is its
   * command line. A container keeps the environment that it was made with, whatever `restart` does.
   */
  readonly stale: readonly string[];
}

/** A compose app, as Compose reads its files now, and as its containers are. */
export interface ComposeApp {
  /** Every service, whether it runs or not. */
  readonly services: ReadonlyMap<string, Variables>;
  readonly containers: readonly Container[];
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

/** The app on its host; without services and containers where the folder is not a compose app. */
export async function composeAppOn(host: Host, settings: SecretsSettings): Promise<ComposeApp> {
  const { command } = compose(host, settings.APP_DIR, settings);
  const configured = await configuredServices(host, command('config', '--format', 'json'));
  const services = new Map(Object.entries(configured).map(([name, service]) => [name, variablesOf(service)]));
  const ids = services.size === 0 ? [] : await host.$`${command('ps', '--all', '--quiet')}`.lines();
  if (ids.length === 0) return { services, containers: [] };
  const inspected = await secretJson<Inspected[]>(host, cmd`docker inspect --type container ${ids}`);
  const containers = inspected.map((container) => compared(container, configured));
  return { services, containers: containers.sort((a, b) => a.service.localeCompare(b.service)) };
}

async function configuredServices(host: Host, config: Command): Promise<Record<string, Configured>> {
  try {
    return (await secretJson<{ services: Record<string, Configured> }>(host, config)).services;
  } catch (error) {
    if (error instanceof Failure && /no configuration file provided/.test(error.message)) return {};
    throw error;
  }
}

/** What a command of docker writes in JSON, passwords and all. @throws Failure that quotes nothing of it */
async function secretJson<T>(host: Host, command: Command): Promise<T> {
  const text = await runForSecret(host, command);
  try {
    return parseSecret<T>(text);
  } catch (error) {
    throw new Failure(`docker: what it wrote ${messageOf(error)}`, {
      next: `try it by hand: ${show(command)}`,
    });
  }
}

function compared({ Name, State, Config }: Inspected, configured: Record<string, Configured>): Container {
  const service = Config.Labels['com.docker.compose.service'] ?? Name;
  const { command } = configured[service] ?? {};
  const has = new Map((Config.Env ?? []).map(splitAtEquals));
  const stale = [...variablesOf(configured[service])]
    .filter(([key, value]) => key !== OF_DEPLOYMENTS && has.get(key) !== value)
    .map(([key]) => key);
  if (command && JSON.stringify(command.map(undoubled)) !== JSON.stringify(Config.Cmd ?? []))
    stale.push('command');
  const is = { running: State.Running, isPostgres: has.has('PGDATA') };
  return { service, name: Name.replace(/^\//, ''), ...is, stale };
}

const variablesOf = ({ environment = {} }: Configured = {}): Variables =>
  new Map(
    Object.entries(environment).flatMap(([key, value]) => (value === null ? [] : [[key, undoubled(value)]])),
  );

/** `config` writes every `$` of a value twice. */
const undoubled = (text: string) => text.replaceAll('$$', '$');

function splitAtEquals(entry: string): [string, string] {
  const at = entry.indexOf('=');
  return [entry.slice(0, at), entry.slice(at + 1)];
}

/** Those of the containers that run. */
export const runningContainers = async (host: Host, settings: SecretsSettings): Promise<Container[]> =>
  (await composeAppOn(host, settings)).containers.filter(({ running }) => running);

/** The services whose containers have to be recreated. */
export const staleServices = (containers: readonly Container[]): string[] => [
  ...new Set(containers.filter(({ stale }) => stale.length > 0).map(({ service }) => service)),
];

/** The command that gives services what is in the env file now; `restart` would not. */
export const recreateCommand = (host: Host, settings: SecretsSettings, services: readonly string[]): string =>
  show(compose(host, settings.APP_DIR, settings).command('up', '--detach', ...services));

/** Warns of the running services that still have what the env file said before, and returns them. */
export async function warnOfStale(
  host: Host,
  settings: SecretsSettings,
  report: Report,
): Promise<readonly string[]> {
  try {
    const stale = staleServices(await runningContainers(host, settings));
    if (stale.length === 0) return [];
    const next = `cd ${settings.APP_DIR} && ${recreateCommand(host, settings, stale)}`;
    report.warn(`${stale.join(', ')} still run with what the file said before. Next: ${next}`);
    return stale;
  } catch (error) {
    // The file is written all the same.
    report.warn(`cannot tell which services have to be recreated: ${sentence(error)}`);
    return [];
  }
}
