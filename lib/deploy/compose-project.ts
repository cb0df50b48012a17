import { existsSync } from 'node:fs';
import native from 'node:path';
import type { ComposeSettings } from '../compose.ts';
import { EXIT, Failure, messageOf } from '../failure.ts';
import { type Command, cmd, type Host } from '../shell.ts';

/** On everything that a validation makes; its value is the directory of the checkout. */
export const LABEL = 'opsbook.validation';

/** A volume or network of the resolved configuration. */
export interface Named {
  name: string;
  external?: boolean;
  labels?: Record<string, string>;
}

interface Service {
  container_name?: string;
  labels?: Record<string, string>;
  volumes?: Array<{ type: string; source?: string; read_only?: boolean }>;
}

/** What `docker compose config --format json` tells, as far as it matters here. */
interface Configuration {
  services: Record<string, Service>;
  volumes?: Record<string, Named>;
  networks?: Record<string, Named>;
}

/** The app of the checkout, as a project of a name of its own. */
export interface Project {
  readonly name: string;
  /** The value of {@link LABEL}. */
  readonly mark: string;
  readonly configuration: Configuration;
  readonly up: Command;
  /** What `up` reads: the configuration, with the label on all that it makes. */
  readonly marked: string;
}

/** Compose's name for the app while it is validated: never the one by which it runs. */
export const projectName = (app: string): string => `${app.replaceAll('.', '-')}-validate`;

/** The machine of whoever validates, as far as a command depends on it. */
interface Here {
  cwd: string;
  path: Pick<typeof native, 'resolve' | 'dirname' | 'join'>;
  exists: (path: string) => boolean;
}

/**
 * `docker compose …` for the checkout, as `composeCommand` has it for an app on its host: but without a shell, and with
 * paths of this machine, which may be one of Windows.
 */
export function checkoutCompose(
  { COMPOSE_FILE, SECRETS_FILE = '.env', COMPOSE_PROJECT_NAME = '' }: ComposeSettings,
  { cwd, path: { resolve, dirname, join }, exists }: Here,
): { directory: string; command(...args: string[]): Command } {
  const directory = dirname(resolve(cwd, COMPOSE_FILE?.split(':')[0] || 'compose.yaml'));
  const app = join(cwd, '.env');
  const named = resolve(cwd, SECRETS_FILE);
  // The later one wins. What Compose reads by itself is not told.
  const both = directory === cwd ? [] : [join(directory, '.env'), app].filter(exists);
  const words = (named === app ? both : [named]).flatMap((file) => ['--env-file', file]);
  const env = {
    COMPOSE_PROJECT_NAME,
    // On Windows Compose itself would split at semicolons.
    ...(COMPOSE_FILE ? { COMPOSE_FILE, COMPOSE_PATH_SEPARATOR: ':' } : {}),
  };
  return { directory, command: (...args) => ({ ...cmd`docker compose ${words} ${args}`, env, cwd }) };
}

/** @throws Failure when Compose does not accept the files */
export async function readProject(
  host: Host,
  app: string,
  { COMPOSE_FILE, SECRETS_FILE }: ComposeSettings,
): Promise<Project> {
  const mark = process.cwd();
  const name = projectName(app);
  const settings = { COMPOSE_FILE, SECRETS_FILE, COMPOSE_PROJECT_NAME: name };
  const { command, directory } = checkoutCompose(settings, { cwd: mark, path: native, exists: existsSync });
  let configuration: Configuration;
  try {
    configuration = JSON.parse(await host.run(command('config', '--format', 'json'))) as Configuration;
  } catch (error) {
    throw new Failure(`docker compose config: ${messageOf(error)}`, {
      exit: EXIT.usage,
      next: 'correct COMPOSE_FILE, or run it in the checkout',
      cause: error,
    });
  }
  return {
    ...{ name, mark, configuration },
    up: command('--file', '-', '--project-directory', directory, 'up', '--detach', '--build', '--quiet-pull'),
    marked: JSON.stringify(withLabel(configuration, mark)),
  };
}

function withLabel(configuration: Configuration, mark: string): Configuration {
  // What is external is not made, and may have no label.
  const labelled = <T extends { labels?: Record<string, string>; external?: boolean }>(
    all: Record<string, T> = {},
  ) =>
    Object.fromEntries(
      Object.entries(all).map(([key, one]) => [
        key,
        one.external ? one : { ...one, labels: { ...one.labels, [LABEL]: mark } },
      ]),
    );
  return {
    ...configuration,
    services: labelled(configuration.services),
    volumes: labelled(configuration.volumes),
    networks: labelled(configuration.networks),
  };
}
