import { posix } from 'node:path';
import type { composeSettings } from './app.ts';
import { type Command, CommandFailure, cmd } from './command.ts';
import { EXIT, Failure } from './failure.ts';
import type { Host } from './shell.ts';

/** The variable of an env file by which Compose finds the version that was deployed: a deployment itself writes it there. */
export const OF_DEPLOYMENTS = 'COMPOSE_FILE';

/** The values of {@link composeSettings}; without SECRETS_FILE it is the default. */
export type ComposeSettings = { [name in keyof typeof composeSettings]?: string | undefined };

/** A compose app on a host. */
export interface Compose {
  /** `docker compose …`, run where the app is. */
  command(...args: string[]): Command;
  /** The container of a service, or undefined when none runs. */
  container(service: string): Promise<string | undefined>;
}

/** A container as `docker compose ps --format json` lists it. */
export interface Listed {
  Name: string;
  Service: string;
  Image: string;
  /** running, exited, restarting … */
  State: string;
  /** healthy, unhealthy, starting, or nothing where there is no check. */
  Health: string;
  ExitCode: number;
  /** As a person reads it: `Up 3 minutes (healthy)`. */
  Status: string;
}

/** Which env file an app has, if it differs from Compose's own choice. */
export function envFileOf(appDir: string, { SECRETS_FILE = '.env' }: ComposeSettings): string | undefined {
  const file = posix.resolve(appDir, SECRETS_FILE);
  return file === posix.resolve(appDir, '.env') ? undefined : file;
}

/** Compose's project directory: that of the first compose file. `env_file:`, builds and mounts are relative to it. */
export const projectDirectory = (appDir: string, { COMPOSE_FILE = '' }: ComposeSettings): string =>
  posix.dirname(posix.resolve(appDir, COMPOSE_FILE.split(':')[0] || 'compose.yaml'));

/** $1 is the .env of the project directory, $2 that of the app's, which wins: as Compose has it where .env names the files. */
const BOTH = `project=$1 app=$2; shift 2
[ ! -e "$app" ] || set -- --env-file "$app" "$@"
[ ! -e "$project" ] || set -- --env-file "$project" "$@"
exec docker compose "$@"`;

/** COMPOSE_FILE of the settings beats that of the env file, which has the version that was deployed. */
const AS_DEPLOYED =
  '[ ! -e .opsbook/deployed.yml ] || COMPOSE_FILE=$COMPOSE_FILE:.opsbook/deployed.yml; exec "$@"';

/**
 * The one place where a `docker compose …` is made, so that each reads the same env file: SECRETS_FILE, or else the .env
 * that Compose itself reads in the app's directory. With a COMPOSE_FILE in the environment that leads to another
 * directory, Compose would look for the .env there: then the command names the env files. An `up` starts the version
 * that was deployed, unless COMPOSE_FILE names another one.
 * @param from a working tree of the app, where Compose is to read the compose files
 */
export function composeCommand(
  appDir: string,
  settings: ComposeSettings,
  args: readonly string[],
  from = appDir,
): Command {
  const { COMPOSE_FILE, COMPOSE_PROJECT_NAME } = settings;
  const env = {
    ...(COMPOSE_FILE ? { COMPOSE_FILE } : {}),
    ...(COMPOSE_PROJECT_NAME ? { COMPOSE_PROJECT_NAME } : {}),
  };
  const command = withEnvFile(appDir, settings, args, from);
  const isUnpinned = COMPOSE_FILE && !COMPOSE_FILE.includes('.opsbook/');
  const pinned = args[0] === 'up' && isUnpinned ? cmd`sh -c ${AS_DEPLOYED} compose ${command}` : command;
  return { ...pinned, env, cwd: from };
}

function withEnvFile(
  appDir: string,
  settings: ComposeSettings,
  args: readonly string[],
  from: string,
): Command {
  const file = envFileOf(appDir, settings);
  if (file) return cmd`docker compose --env-file ${file} ${args}`;
  const [app, project] = [posix.resolve(appDir, '.env'), `${projectDirectory(appDir, settings)}/.env`];
  if (project === app && from === appDir) return cmd`docker compose ${args}`;
  return cmd`sh -c ${BOTH} compose ${project} ${app} ${args}`;
}

export function compose(host: Host, appDir: string, settings: ComposeSettings): Compose {
  const command = (...args: string[]) => composeCommand(appDir, settings, args);
  return {
    command,
    async container(service) {
      const listing = command('ps', '--all', '--format', 'json', service);
      const listed = await host.run(listing).then(parseListing, async (error: unknown) => {
        const problem = dockerFailure(error);
        if (!problem) await refuseUnknown(host, command, service);
        throw problem ?? error;
      });
      const running = listed.find(({ State }) => State === 'running');
      // Whether ps fails for a name that it does not know depends on what else runs.
      if (!running) await refuseUnknown(host, command, service);
      return running?.Name;
    },
  };
}

/** With this code docker itself refuses a command line: without the plugin it knows no `compose`. */
const REFUSED = 125;
/** With this one a shell says that it may not start docker. */
const UNSTARTABLE = 126;

/**
 * What is wrong with Docker itself, where a command failed for that; undefined where the app or its files are to blame.
 * @param where before the message: the host, where that is not plain
 */
export function dockerFailure(error: unknown, where = ''): Failure | undefined {
  if (!(error instanceof CommandFailure)) return undefined;
  const { words, code, stderr } = error;
  const failure = (message: string, next: string) =>
    new Failure(`${where}${message}`, { next, cause: error });
  if (code === REFUSED) return failure('docker knows no compose', "install Docker's compose plugin");
  // A shell that was to start it has words of its own.
  if (/docker: (command )?not found/.test(`${words}\n${stderr}`))
    return failure('docker: command not found', 'install Docker, or put it on PATH');
  if (code === UNSTARTABLE || /permission denied .*docker (daemon|api)/i.test(stderr))
    return failure('this user may not speak to Docker', 'run it as root or as a user of the group docker');
  if (/(cannot|failed to) connect to the docker (daemon|api)|is the docker daemon running/i.test(stderr))
    return failure(words, 'start Docker: systemctl start docker');
  return undefined;
}

/** @throws Failure where Compose does not know the service, or cannot read the compose files */
async function refuseUnknown(host: Host, command: Compose['command'], service: string): Promise<void> {
  let services: string[];
  try {
    services = (await host.run(command('config', '--services'))).split('\n').filter(Boolean);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`docker compose: ${error.words}`, {
      next: 'correct COMPOSE_FILE and APP_DIR, or let this user read what they name',
      cause: error,
    });
  }
  if (services.includes(service)) return;
  throw new Failure(`compose has no service ${service}; it has ${services.sort().join(', ')}`, {
    exit: EXIT.usage,
    next: 'correct the name, or COMPOSE_FILE and APP_DIR',
  });
}

/** Compose before 2.21 wrote one array, later ones write an object a line. */
export function parseListing(text: string): Listed[] {
  const trimmed = text.trim();
  if (trimmed === '') return [];
  if (trimmed.startsWith('[')) return JSON.parse(trimmed) as Listed[];
  return trimmed.split('\n').map((line) => JSON.parse(line) as Listed);
}
