import { posix } from 'node:path';
import { type Command, CommandFailure, cmd, show } from '../command.ts';
import { composeCommand, envFileOf } from '../compose.ts';
import { parseEnv } from '../env-file.ts';
import { EXIT, Failure, messageOf } from '../failure.ts';
import { readHostFile, runForSecret, writeOpenHostFile } from '../host-files.ts';
import type { Host } from '../shell.ts';
import { asOwner, ENTER, stateFileOn } from '../state.ts';
import type { AppSettings } from './deployment.ts';
import { type ImageReference, imageText, parseImage } from './settings.ts';

/** The files of the state folder that are read; before the first deployment there is no folder either. */
const READABLE = ['deployed.yml', 'deployed.env', 'deploying.json', 'deployments.jsonl'] as const;
type Readable = (typeof READABLE)[number];
/** `next.yml` becomes `deployed.yml` when its containers are trusted. */
type StateFile = Readable | 'next.yml' | 'build.yml';

/** Prints each file in base64, a line each. */
const READ = `${ENTER}
[ ! -d "$1" ] || enter "$1"
shift
for file in "$@"; do
  [ ! -L "$file" ] || fail "$file is a symbolic link: not read"
  if [ -e "$file" ]; then text=$(base64 < "$file") || exit; printf %s "$text" | tr -d '\\n'; fi
  echo
done`;

/** A line that a full disk had cut off before does not swallow the next. */
const APPEND = '[ -z "$(tail -c 1 "$1")" ] || echo >> "$1"; cat >> "$1"';

type StateFiles = ReturnType<typeof stateFiles>;

/**
 * The files that deployments of an app keep in its state folder on its host. They are read at once, and once: the lock
 * of the deployment keeps others from changing them, and over SSM every command takes a second.
 */
function stateFiles(host: Host, appDir: string) {
  const folder = `${appDir}/.opsbook`;
  const path = (name: StateFile) => `${folder}/${name}`;
  const known = new Map<StateFile, string>();
  /** What becomes of files is only known when what changes them has worked. */
  const forget = (...names: StateFile[]) => {
    for (const name of names) known.delete(name);
  };
  let made: Promise<string> | undefined;
  /** Makes the folder, and the file that lines are added to. */
  const make = (): Promise<string> => {
    made ??= stateFileOn(host, appDir, 'deployments.jsonl');
    return made;
  };
  const files = {
    /** Empty when it is not there. */
    async read(name: Readable): Promise<string> {
      const unknown = READABLE.filter((one) => !known.has(one));
      if (!known.has(name)) {
        const lines = (await host.run(cmd`sh -c ${READ} read ${folder} ${unknown}`)).split('\n');
        for (const [i, one] of unknown.entries())
          known.set(one, Buffer.from(lines[i] ?? '', 'base64').toString('utf8'));
      }
      return known.get(name) ?? '';
    },
    async write(name: StateFile, text: string): Promise<void> {
      await make();
      forget(name);
      await writeOpenHostFile(host, path(name), text);
      known.set(name, text);
    },
    async append(name: 'deployments.jsonl', line: string): Promise<void> {
      await make();
      forget(name);
      await host.run(asOwner(folder, cmd`sh -c ${APPEND} append ${name}`), `${line}\n`);
    },
    async remove(...names: StateFile[]): Promise<void> {
      forget(...names);
      await host.run(cmd`rm -f ${names.map(path)}`);
    },
    /** The command by which `next.yml` becomes `deployed.yml`. */
    trust: cmd`mv -f ${path('next.yml')} ${path('deployed.yml')}`,
    async trustNext(): Promise<void> {
      forget('next.yml', 'deployed.yml');
      await host.run(files.trust);
    },
  };
  return files;
}

/** Where Compose looks when nothing names the files, in its own order; the first override that is there is added. */
const PLAIN = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml'];
const OVERRIDES = ['compose', 'docker-compose'].flatMap((name) => [
  `${name}.override.yml`,
  `${name}.override.yaml`,
]);

/** A service as `docker compose config` resolves it; only what a deployment looks at. */
export interface Service {
  image?: string;
  build?: object;
  /** With the variables of its `env_file:`. */
  environment?: Record<string, string | null>;
  healthcheck?: { test?: string[]; disable?: boolean };
  ports?: Array<{ target: number; published?: string }>;
  container_name?: string;
  depends_on?: Record<string, object>;
  network_mode?: string;
  scale?: number;
  deploy?: { replicas?: number };
}

export interface Model {
  name: string;
  services: Record<string, Service>;
}

type Pins = 'deployed.yml' | 'next.yml' | 'none';

/** An app's compose files on its host, and the file with the version that runs, which comes after them. */
export interface ComposeApp {
  readonly host: Host;
  readonly dir: string;
  /** With COMPOSE_FILE as in {@link composeFile}. */
  readonly settings: AppSettings;
  /** Aborted when the run is interrupted. */
  readonly signal: AbortSignal;
  readonly files: StateFiles;
  /** The app's own compose files. */
  readonly own: readonly string[];
  /** COMPOSE_FILE with which every compose command runs what was deployed. */
  readonly composeFile: string;
  /** Where Compose reads the app's values, and COMPOSE_FILE where the environment has none. */
  readonly envFile: string;
  /** `docker compose …` with the pins of a file of the state folder, or without any. */
  command(pins: Pins, ...args: string[]): Command;
  /** `docker compose …` in a working tree, with the names of the images that are built there, and the app's env file. */
  buildIn(tree: string, ...args: string[]): Command;
  /** What Compose makes of its files. @throws Failure when they are not valid */
  model(pins: Pins): Promise<Model>;
}

/** @throws Failure with exit 2 when there is no app in APP_DIR, or SECRETS_FILE would make it another one */
export async function composeApp(
  host: Host,
  settings: AppSettings,
  signal: AbortSignal,
): Promise<ComposeApp> {
  const { APP_DIR: dir } = settings;
  const envFile = envFileOf(dir, settings) ?? `${dir}/.env`;
  const own = ownFiles(dir, settings.COMPOSE_FILE ?? (await defaultFiles(host, dir, envFile)));
  const inCompose = (pins: readonly string[], args: readonly string[], from = dir) =>
    composeCommand(dir, { ...settings, COMPOSE_FILE: [...own, ...pins].join(':') }, args, from);
  const command: ComposeApp['command'] = (pins, ...args) =>
    inCompose(pins === 'none' ? [] : [`.opsbook/${pins}`], args);
  const composeFile = [...own, '.opsbook/deployed.yml'].join(':');
  return {
    ...{ host, dir, signal, own, envFile, composeFile, command, files: stateFiles(host, dir) },
    settings: { ...settings, COMPOSE_FILE: composeFile },
    buildIn: (tree, ...args) => inCompose([`${dir}/.opsbook/build.yml`], args, tree),
    async model(pins) {
      try {
        return JSON.parse(await runForSecret(host, command(pins, 'config', '--format', 'json'))) as Model;
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        if (error.words.includes(`find env file: ${envFile}`))
          throw new Failure(`SECRETS_FILE: ${envFile} is not on ${host.name}`, {
            exit: EXIT.usage,
            next: 'make it: fetch-secrets or generate-secrets; or name the one that is there',
            cause: error,
          });
        throw new Failure(`the compose files of ${dir} are not valid: ${error.words}`, {
          next: `try it by hand in ${dir}: ${show(command(pins, 'config', '--quiet'))}`,
          cause: error,
        });
      }
    },
  };
}

const isPins = (file: string) => /(^|\/)\.opsbook\/(deployed|next)\.yml$/.test(file);

/** The files of a COMPOSE_FILE without our pins, in Compose's own form in an .env: it still holds when the directory is moved. */
const ownFiles = (dir: string, composeFile: string): string[] =>
  composeFile
    .split(':')
    .filter((file) => !isPins(file))
    .map((file) => (file.startsWith(`${dir}/`) ? file.slice(dir.length + 1) : file));

/** What Compose itself would read here. @throws Failure when it would find nothing, or SECRETS_FILE loses what the .env names */
async function defaultFiles(host: Host, dir: string, envFile: string): Promise<string> {
  const text = await readHostFile(host, envFile);
  const named = composeFileIn(envFile, text ?? '');
  if (named) return named;
  const found = await foundFiles(host, dir);
  const env = `${dir}/.env`;
  // Compose itself says that one is not there.
  if (envFile !== env && text !== undefined) {
    const other = composeFileIn(env, (await readHostFile(host, env)) ?? '');
    const lost = other && ownFiles(dir, other);
    if (lost && !sameFiles(dir, lost, found))
      throw new Failure(
        `${env} has COMPOSE_FILE=${lost.join(':')}, and SECRETS_FILE, ${envFile}, has none: another app would be deployed`,
        { exit: EXIT.usage, next: `move COMPOSE_FILE into ${envFile}, or set it` },
      );
  }
  if (found.length === 0)
    throw new Failure(`no compose file in ${dir} on ${host.name}`, {
      exit: EXIT.usage,
      next: 'set APP_DIR, or COMPOSE_FILE where the file has another name',
    });
  return found.join(':');
}

const sameFiles = (dir: string, some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length &&
  some.every((file, i) => posix.resolve(dir, file) === posix.resolve(dir, others[i] ?? ''));

/** Where Compose looks when nothing names the files; empty when there is none. */
async function foundFiles(host: Host, dir: string): Promise<string[]> {
  const found = await existing(host, [...PLAIN, ...OVERRIDES], dir);
  const plain = found.find((name) => PLAIN.includes(name));
  return plain ? [plain, ...found.filter((name) => OVERRIDES.includes(name)).slice(0, 1)] : [];
}

/** Those of the paths that are there, relative to `cwd`. */
export const existing = (host: Host, paths: readonly string[], cwd: string): Promise<string[]> =>
  host.$`${{ ...cmd`sh -c ${'for f; do [ ! -e "$f" ] || printf "%s\\n" "$f"; done'} existing ${paths}`, cwd }}`.lines();

function composeFileIn(envFile: string, text: string): string | undefined {
  try {
    return parseEnv(text).COMPOSE_FILE;
  } catch (error) {
    throw new Failure(`${envFile}: ${messageOf(error)}`, { exit: EXIT.usage, next: 'correct the line' });
  }
}

/** The image of a service; Compose names one that is built after the project. */
export const imageOf = (model: Model, service: string): string =>
  model.services[service]?.image ?? `${model.name}-${service}`;

/** The services that run one of these images, whatever its tag. @throws Failure when no service runs an image */
export function servicesOf(model: Model, images: readonly ImageReference[]): Map<string, ImageReference> {
  const found = new Map<string, ImageReference>();
  for (const service of Object.keys(model.services)) {
    const runs = parseImage(imageOf(model, service));
    const image = images.find((one) => one.registry === runs.registry && one.repository === runs.repository);
    if (image) found.set(service, image);
  }
  const unused = images.filter((image) => ![...found.values()].includes(image));
  if (unused.length === 0) return found;
  const used = [...new Set(Object.keys(model.services).map((name) => imageOf(model, name)))].sort();
  throw new Failure(
    `no service of the compose files runs ${unused.map(imageText).join(', ')}; they run ${used.join(', ')}`,
    { exit: EXIT.usage, next: 'correct IMAGE, or the image of the service' },
  );
}

export const replicas = ({ scale, deploy }: Service): number => scale ?? deploy?.replicas ?? 1;
