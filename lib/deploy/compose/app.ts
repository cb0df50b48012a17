import { type Command, CommandFailure } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { type ImageReference, imageText, parseImage } from '../image-reference.ts';
import type { DeploySettings } from '../settings.ts';
import { stateFiles } from './files.ts';

/** Where Compose looks, in its own order, when it is told no file; an override of the same kind is added. */
const DEFAULT_FILES = ['compose', 'docker-compose'].flatMap((name) => [
  [`${name}.yaml`, `${name}.yml`],
  [`${name}.override.yaml`, `${name}.override.yml`],
]);

const FIND = `for f in "$@"; do [ ! -e "$f" ] || printf '%s\\n' "$f"; done
sed -n 's/^COMPOSE_FILE=//p' .env 2>/dev/null | tail -n 1 | tr -d "'\\"" | sed 's/^/=/'`;

/** A service as `docker compose config` resolves it; only what a deployment looks at. */
export interface Service {
  image?: string;
  build?: object;
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
  /** COMPOSE_FILE with which every compose command runs what was deployed. */
  readonly composeFile: string;
}

export async function composeApp(
  host: Host,
  settings: DeploySettings & { APP_DIR: string },
): Promise<ComposeApp> {
  const { APP_DIR: dir, COMPOSE_FILE, COMPOSE_PROJECT_NAME } = settings;
  const own = (COMPOSE_FILE ?? (await defaultFiles(host, dir)))
    .split(':')
    .filter((file) => !isPins(file))
    // Compose's own form in an .env: it still holds when the directory is moved.
    .map((file) => (file.startsWith(`${dir}/`) ? file.slice(dir.length + 1) : file));
  const composeFile = (pins: string) => [...own, ...(pins === 'none' ? [] : [`.opsbook/${pins}`])].join(':');
  const command: ComposeApp['command'] = (pins, ...args) => ({
    argv: ['docker', 'compose', ...args],
    env: {
      COMPOSE_FILE: composeFile(pins),
      ...(COMPOSE_PROJECT_NAME ? { COMPOSE_PROJECT_NAME } : {}),
    },
    cwd: dir,
  });
  return {
    ...{ host, dir, own, files: stateFiles(host, dir), composeFile: composeFile('deployed.yml'), command },
    async model(pins) {
      try {
        return JSON.parse(await host.run(command(pins, 'config', '--format', 'json'))) as Model;
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        throw new Failure(`the compose files of ${dir} are not valid: ${error.words}`, {
          next: `try it by hand: COMPOSE_FILE=${composeFile(pins)} docker compose config --quiet`,
          cause: error,
        });
      }
    },
  };
}

const isPins = (file: string) => /(^|\/)\.opsbook\/(deployed|next)\.yml$/.test(file);

/** What Compose itself would read here. @throws Failure when it would find nothing */
async function defaultFiles(host: Host, dir: string): Promise<string> {
  const found = (
    await host.run({ argv: ['sh', '-c', FIND, 'find', ...DEFAULT_FILES.flat()], cwd: dir })
  ).split('\n');
  const told = found.find((line) => line.startsWith('='))?.slice(1);
  if (told) return told;
  const pick = (names: string[] | undefined) => names?.find((name) => found.includes(name));
  const [plain, override] = [
    pick(DEFAULT_FILES[0]) ?? pick(DEFAULT_FILES[2]),
    pick(DEFAULT_FILES[1]) ?? pick(DEFAULT_FILES[3]),
  ];
  if (!plain)
    throw new Failure(`no compose file in ${dir} on ${host.name}`, {
      exit: EXIT.usage,
      next: 'set APP_DIR, or COMPOSE_FILE where the file has another name',
    });
  return override ? `${plain}:${override}` : plain;
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
