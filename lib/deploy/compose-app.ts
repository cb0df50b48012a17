import { posix } from 'node:path';
import { type ComposeSettings, composeCommand, envFileOf } from '../compose.ts';
import { parseEnv } from '../env-file.ts';
import { EXIT, Failure, messageOf } from '../failure.ts';
import { readHostFile, runForSecret, writeOpenHostFile } from '../host-files.ts';
import { type Command, CommandFailure, cmd, type Host, show } from '../shell.ts';
import { asOwner, ENTER, stateFileOn } from '../state.ts';
import { type DeploySettings, type ImageReference, imageText, parseImage } from './settings.ts';

/** Files of the state folder; `next.yml` becomes `deployed.yml` when its containers are trusted. */
type StateFile =
  | 'deployed.yml'
  | 'deployed.env'
  | 'next.yml'
  | 'build.yml'
  | 'deploying.json'
  | 'deployments.jsonl';

/** Those that are read, a line each; before the first deployment there is no folder either. */
const REMEMBERED = ['deployed.yml', 'deployed.env', 'deploying.json', 'deployments.jsonl'] as const;
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

/**
 * The files by which deployments of an app remember, in its state folder on its host. They are read at once, and once:
 * the lock of the deployment keeps others from changing them, and over SSM every command takes a second.
 */
function stateFiles(host: Host, appDir: string) {
  const own = `${appDir}/.opsbook`;
  const path = (name: StateFile) => `${own}/${name}`;
  const move = (from: StateFile, to: StateFile): Command => cmd`mv -f ${path(from)} ${path(to)}`;
  const known = new Map<StateFile, string>();
  const load = async (names: readonly StateFile[]): Promise<void> => {
    const text = await host.run(cmd`sh -c ${READ} read ${own} ${names}`);
    const lines = text.split('\n');
    for (const [i, name] of names.entries())
      known.set(name, Buffer.from(lines[i] ?? '', 'base64').toString('utf8'));
  };
  let folder: Promise<string> | undefined;

  /** The folder and the file that lines are added to. */
  const made = (): Promise<string> => {
    folder ??= stateFileOn(host, appDir, 'deployments.jsonl');
    return folder;
  };
  /** Does what changes files; what became of them is only known when it worked. */
  async function changing(names: readonly StateFile[], act: () => Promise<unknown>): Promise<void> {
    for (const name of names) known.delete(name);
    await act();
  }
  return {
    path,
    move,
    /** Empty when it is not there. */
    async read(name: (typeof REMEMBERED)[number]): Promise<string> {
      const unknown = REMEMBERED.filter((one) => !known.has(one));
      if (!known.has(name)) await load(unknown);
      return known.get(name) ?? '';
    },
    async write(name: StateFile, text: string): Promise<void> {
      await made();
      await changing([name], () => writeOpenHostFile(host, path(name), text));
      known.set(name, text);
    },
    async append(name: 'deployments.jsonl', line: string): Promise<void> {
      await made();
      const append = asOwner(own, cmd`sh -c ${APPEND} append ${name}`);
      await changing([name], () => host.run(append, `${line}\n`));
    },
    async remove(...names: StateFile[]): Promise<void> {
      await changing(names, () => host.run(cmd`rm -f ${names.map(path)}`));
    },
    async become(from: StateFile, to: StateFile): Promise<void> {
      await changing([from, to], () => host.run(move(from, to)));
    },
  };
}

/** Where Compose looks when it is told no file, in its own order; the first override that is there is added. */
const PLAIN = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml'];
const OVERRIDES = ['compose', 'docker-compose'].flatMap((name) => [
  `${name}.override.yml`,
  `${name}.override.yaml`,
]);

const FIND = `for f in "$@"; do [ ! -e "$f" ] || printf '%s\\n' "$f"; done`;

/** A service as `docker compose config` resolves it; only what a deployment looks at. */
export interface Service {
  image?: string;
  build?: object;
  /** With what its \`env_file:\` say. */
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

/** An app's compose files on its host, and the file with the version that runs, which comes after them. */
export interface ComposeApp {
  readonly host: Host;
  readonly dir: string;
  readonly files: ReturnType<typeof stateFiles>;
  /** The app's own compose files. */
  readonly own: readonly string[];
  /** `docker compose …` with the pins of a file of the state folder, or without any. */
  command(pins: 'deployed.yml' | 'next.yml' | 'none', ...args: string[]): Command;
  model(pins: 'deployed.yml' | 'next.yml' | 'none'): Promise<Model>;
  /** `docker compose build …` in a working tree, with another compose file of the state folder, and the app's env file. */
  buildIn(tree: string, ...args: string[]): Command;
  /** Where Compose reads the app's values, and COMPOSE_FILE when it is not told. */
  readonly envFile: string;
  readonly settings: ComposeSettings;
  /** COMPOSE_FILE with which every compose command runs what was deployed. */
  readonly composeFile: string;
}

export async function composeApp(
  host: Host,
  settings: DeploySettings & { APP_DIR: string },
): Promise<ComposeApp> {
  const { APP_DIR: dir, COMPOSE_FILE, COMPOSE_PROJECT_NAME, SECRETS_FILE } = settings;
  const envFile = envFileOf(dir, settings) ?? `${dir}/.env`;
  const own = ownFiles(dir, COMPOSE_FILE ?? (await defaultFiles(host, dir, envFile)));
  const composeFile = (pins: string) => [...own, ...(pins === 'none' ? [] : [`.opsbook/${pins}`])].join(':');
  const named = { COMPOSE_PROJECT_NAME, SECRETS_FILE };
  const command: ComposeApp['command'] = (pins, ...args) =>
    composeCommand(dir, { ...named, COMPOSE_FILE: composeFile(pins) }, args);
  return {
    ...{ host, dir, own, files: stateFiles(host, dir), composeFile: composeFile('deployed.yml'), command },
    ...{ envFile, settings: { ...named, COMPOSE_FILE: composeFile('deployed.yml') } },
    buildIn: (tree, ...args) =>
      composeCommand(
        dir,
        { ...named, COMPOSE_FILE: [...own, `${dir}/.opsbook/build.yml`].join(':') },
        args,
        tree,
      ),
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
  const told = composeFileIn(envFile, text ?? '');
  if (told) return told;
  const found = await foundFiles(host, dir);
  const env = `${dir}/.env`;
  // One that is not there is told by Compose.
  if (envFile !== env && text !== undefined) {
    const named = composeFileIn(env, (await readHostFile(host, env)) ?? '');
    const lost = named && ownFiles(dir, named);
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
  const look: Command = { ...cmd`sh -c ${FIND} find ${PLAIN} ${OVERRIDES}`, cwd: dir };
  const found = (await host.run(look)).split('\n').filter(Boolean);
  const plain = found.find((name) => PLAIN.includes(name));
  return plain ? [plain, ...found.filter((name) => OVERRIDES.includes(name)).slice(0, 1)] : [];
}

function composeFileIn(envFile: string, text: string): string | undefined {
  try {
    return parseEnv(text).COMPOSE_FILE;
  } catch (error) {
    throw new Failure(`${envFile}: ${messageOf(error)}`, { exit: EXIT.usage, next: 'correct the line' });
  }
}

/** The images that Compose gives to services, by service; one that is built gets a name of the project's. */
export const imageOf = (model: Model, service: string): string =>
  model.services[service]?.image ?? `${model.name}-${service}`;

/** The services that run one of these images, whatever its tag. @throws Failure when an image is none's */
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
    {
      exit: EXIT.usage,
      next: 'correct IMAGE, or the image of the service',
    },
  );
}

export const replicas = ({ scale, deploy }: Service): number => scale ?? deploy?.replicas ?? 1;
