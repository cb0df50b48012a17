import { existsSync } from 'node:fs';
import native from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { composeSettings } from '../../lib/app.ts';
import type { Command } from '../../lib/command.ts';
import type { ComposeSettings } from '../../lib/compose.ts';
import { type Context, flag } from '../../lib/definition.ts';
import { healthSettings, VALIDATION_LABEL } from '../../lib/deploy/settings.ts';
import { checkAll, EXIT, Failure, messageOf } from '../../lib/failure.ts';
import { count, table } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';
import { list, setting } from '../../lib/settings.ts';
import type { Host } from '../../lib/shell.ts';
import { request, textOf, WebAddress } from '../../lib/web.ts';

const validateSettings = {
  COMPOSE_FILE: composeSettings.COMPOSE_FILE,
  SECRETS_FILE: composeSettings.SECRETS_FILE,
  HEALTH_TIMEOUT: healthSettings.HEALTH_TIMEOUT,
  VALIDATE_URLS: setting('VALIDATE_URLS', {
    about: 'addresses that have to answer 200, and, in JSON, nothing unhealthy; separated by commas',
    example: 'http://localhost:8000/health,http://localhost:8000/docs',
    type: list((raw) => {
      if (URL.canParse(raw) && /^https?:\/\//.test(raw)) return new WebAddress(raw);
      throw new Error('has an item that is not an http(s) URL');
    }),
  }),
};

const ANSWER_MS = 10_000;
const POLL_MS = 250;
/** One that answers, but wrongly, may still be starting: it has this long, where the containers are healthy. */
const PATIENCE_MS = 10_000;
/** Larger answers are documents, not the verdict of a health check. */
const LARGEST_VERDICT = 20_000;
const DEPTH = 3;

/** Words by which health checks say that something is wrong, wherever they stand: `"database": "error"`. */
const ILL =
  /^(un(healthy|available|reachable|known)|error|fail(ed|ing|ure)?|down|(dis|not )connected|degraded|critical|not .*)$/i;

const REMOVE = 'to remove it: npx tsx scripts/deploy/validate-local.ts --cleanup';

await script(import.meta, {
  does: 'Try the app of this checkout with Docker Compose: build, start, wait until healthy, check its URLs',
  step: 'Validate locally',
  example: 'npx tsx scripts/deploy/validate-local.ts --env-file .env.local',
  settings: validateSettings,
  targetless: true,
  flags: {
    cleanup: flag('--cleanup', 'remove what validations of this checkout started, and do nothing else'),
  },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, host, cmd, change, report, signal, dryRun, json } = context;
    const { awaitHealthy } = await import('../../lib/deploy/compose-containers.ts');

    // Compose's name for the app while it is validated: never the one by which it runs.
    const name = `${settings.APP.replaceAll('.', '-')}-validate`;
    if (flags.cleanup) return cleanUp(name, context);

    const { COMPOSE_FILE, SECRETS_FILE } = settings;
    const here = SECRETS_FILE === '.env' || existsSync(SECRETS_FILE);
    if (!here) report.info(`no ${SECRETS_FILE} in this checkout: Compose reads what it finds by itself`);
    const files = { COMPOSE_FILE, COMPOSE_PROJECT_NAME: name, ...(here ? { SECRETS_FILE } : {}) };
    const machine = { cwd: process.cwd(), path: native, exists: existsSync };
    const { compose, directory } = checkoutCompose(cmd, files, machine);
    const configuration = await readConfiguration(host, cmd`${compose} config --format json`);
    await refuseOthers(host, name, configuration);

    const up = cmd`${compose} --file - --project-directory ${directory} up --detach --build --quiet-pull`;
    const input = JSON.stringify(withLabel(configuration));
    try {
      await change(`build and start ${name}`, [up], () => host.run(up, input));
      await change('wait until all containers are healthy', [], async () =>
        awaitHealthy(host, await ours(host, 'container'), {
          timeoutMs: settings.HEALTH_TIMEOUT * 1000,
          healthyForMs: 0,
          signal,
        }),
      );
    } catch (error) {
      if (signal.aborted) report.info(`what was started is still there; ${REMOVE}`);
      else await showFailed(context);
      throw error;
    }
    if (dryRun) return;

    const findings = await report.step('check containers and addresses', async () => [
      ...(await checkServices(host, Object.keys(configuration.services))),
      ...(await Promise.all(settings.VALIDATE_URLS.map((url) => checkUrl(url, signal)))),
    ]);
    report.summary(table(findings.map(({ url, answer, ok }) => [ok ? '✓' : '✗', url, answer])));
    if (json) report.data(JSON.stringify({ project: name, findings }));
    const wrong = findings.filter(({ ok }) => !ok);
    if (wrong.length > 0)
      throw new Failure(wrong.map(({ url, answer }) => `${url}: ${answer}`).join('; '), {
        exit: EXIT.problem,
        next: `look at it with docker compose --project-name ${name} logs; ${REMOVE}`,
      });
    report.info(`it goes on running; ${REMOVE}`);
  },
});

/** What validations of this checkout made, by id or name. */
async function ours({ $ }: Host, kind: 'container' | 'network' | 'volume'): Promise<string[]> {
  const filter = `label=${VALIDATION_LABEL}=${process.cwd()}`;
  if (kind === 'container') return $`docker container ls --all --quiet --filter ${filter}`.lines();
  return $`docker ${kind} ls --quiet --filter ${filter}`.lines();
}

/**
 * Removes the containers and networks that validations of this checkout made, and of their volumes those that Compose
 * named after the validation's project: one with a name of its own could be another project's tomorrow, and is kept.
 */
async function cleanUp(
  name: string,
  { change, cmd, host, report }: Pick<Context, 'change' | 'cmd' | 'host' | 'report'>,
): Promise<void> {
  const kinds = ['container', 'network', 'volume'] as const;
  const [containers = [], networks = [], volumes = []] = await Promise.all(
    kinds.map((kind) => ours(host, kind)),
  );
  const own = volumes.filter((volume) => volume.startsWith(`${name}_`));
  for (const volume of volumes.filter((one) => !own.includes(one)))
    report.info(`= the volume ${volume} is kept: its name is one that other projects may use`);
  const remove: Array<[noun: string, of: string[], command: Command]> = [
    // Their anonymous volumes with them; those that have a name stay.
    ['container', containers, cmd`docker rm --force --volumes ${containers}`],
    ['network', networks, cmd`docker network rm ${networks}`],
    ['volume', own, cmd`docker volume rm ${own}`],
  ];
  if (remove.every(([, of]) => of.length === 0)) return report.info(`= nothing of ${name} is left here`);
  for (const [noun, of, command] of remove)
    if (of.length > 0) await change(`remove ${count(of.length, noun)}`, [command], () => host.run(command));
}

/** What `docker compose config --format json` says, as far as it matters here. */
interface Configuration {
  services: Record<string, Service>;
  volumes?: Record<string, Named>;
  networks?: Record<string, Named>;
}

interface Service {
  container_name?: string;
  labels?: Record<string, string>;
  volumes?: Array<{ type: string; source?: string; read_only?: boolean }>;
}

interface Named {
  name: string;
  external?: boolean;
  labels?: Record<string, string>;
}

/** The machine of whoever validates, as far as a command depends on it. */
interface Machine {
  cwd: string;
  path: Pick<typeof native, 'resolve' | 'dirname' | 'join'>;
  exists: (path: string) => boolean;
}

/**
 * `docker compose` for the checkout, as `composeCommand` has it for an app on its host: but without a shell, and with
 * paths of this machine, which may be one of Windows.
 */
export function checkoutCompose(
  cmd: Context['cmd'],
  { COMPOSE_FILE, SECRETS_FILE = '.env', COMPOSE_PROJECT_NAME = '' }: ComposeSettings,
  { cwd, path: { resolve, dirname, join }, exists }: Machine,
): { compose: Command; directory: string } {
  const directory = dirname(resolve(cwd, COMPOSE_FILE?.split(':')[0] || 'compose.yaml'));
  const app = join(cwd, '.env');
  const named = resolve(cwd, SECRETS_FILE);
  // The later one wins. What Compose reads by itself is not named.
  const both = directory === cwd ? [] : [join(directory, '.env'), app].filter(exists);
  const files = (named === app ? both : [named]).flatMap((file) => ['--env-file', file]);
  const env = {
    COMPOSE_PROJECT_NAME,
    // On Windows Compose itself would split at semicolons.
    ...(COMPOSE_FILE ? { COMPOSE_FILE, COMPOSE_PATH_SEPARATOR: ':' } : {}),
  };
  return { compose: { ...cmd`docker compose ${files}`, env, cwd }, directory };
}

/** @throws Failure when Compose does not accept the files */
async function readConfiguration(host: Host, config: Command): Promise<Configuration> {
  try {
    return await host.$`${config}`.json<Configuration>();
  } catch (error) {
    throw new Failure(`docker compose config: ${messageOf(error)}`, {
      exit: EXIT.usage,
      next: 'correct COMPOSE_FILE, or run it in the checkout',
      cause: error,
    });
  }
}

/** The configuration with our label on all that Compose makes of it. */
function withLabel(configuration: Configuration): Configuration {
  type Labelled = { labels?: Record<string, string>; external?: boolean };
  const labelled = <T extends Labelled>(all: Record<string, T> = {}) =>
    Object.fromEntries(
      Object.entries(all).map(([key, one]) => {
        const labels = { ...one.labels, [VALIDATION_LABEL]: process.cwd() };
        // What is external is not made, and may have no label.
        return [key, one.external ? one : { ...one, labels }];
      }),
    );
  return {
    ...configuration,
    services: labelled(configuration.services),
    volumes: labelled(configuration.volumes),
    networks: labelled(configuration.networks),
  };
}

/**
 * Refuses to start where something of another project would be shared: a volume, a directory that a database writes to,
 * a network on which our containers would answer to the names of theirs, a container of the same name. On a production
 * host all of them are there.
 * @throws Problems that name each
 */
async function refuseOthers(host: Host, project: string, configuration: Configuration): Promise<void> {
  const { $ } = host;
  const { services, volumes = {}, networks = {} } = configuration;
  const ids = await $`docker ps --all --quiet`.lines();
  const all = ids.length === 0 ? [] : await $`docker container inspect ${ids}`.json<Inspected[]>();
  const foreign = all.filter(({ Config }) => Config.Labels[VALIDATION_LABEL] !== process.cwd());
  const named = (name: string) => foreign.find(({ Name }) => Name === `/${name}`);
  const called = Object.values(services).flatMap(({ container_name: name }) => name ?? []);
  await checkAll([
    ...Object.values(volumes).map((volume) => () => refuseForeign(host, 'volume', volume)),
    ...Object.values(networks).map((network) => () => refuseForeign(host, 'network', network)),
    () => {
      const other = foreign.find(({ Config }) => Config.Labels['com.docker.compose.project'] === project);
      if (other)
        throw taken(`the container ${other.Name.slice(1)} of the project ${project} is there already`);
    },
    ...called.map((name) => () => {
      if (named(name)) throw taken(`the container ${name} is there already`);
    }),
    () => refuseDirectories(foreign, configuration),
  ]);
}

interface Inspected {
  Name: string;
  Config: { Labels: Record<string, string> };
  State: { Running: boolean };
  Mounts: Array<{ Type: string; Source: string; RW: boolean }>;
}

function taken(what: string): Failure {
  return new Failure(`${what}, and was not made by a validation of this checkout`, {
    next: 'validate on a machine where the app does not run, or give it another name in a compose file for validation',
  });
}

/** @throws Failure when one of that name is there, and does not carry our label */
async function refuseForeign(
  { $ }: Host,
  kind: 'volume' | 'network',
  { name, external }: Named,
): Promise<void> {
  const names = await $`docker ${kind} ls --filter ${`name=^${name}$`} --format ${'{{.Name}}'}`.lines();
  // As a filter, the name of a volume is any part of it.
  if (!names.includes(name)) return;
  const inspected = $`docker ${kind} inspect --format ${'{{json .Labels}}'} ${name}`;
  const labels = await inspected.json<Record<string, string> | null>();
  if (external || labels?.[VALIDATION_LABEL] !== process.cwd())
    throw taken(`the ${kind} ${name} is there already`);
}

/** Two databases on one directory destroy it. */
function refuseDirectories(foreign: readonly Inspected[], { services }: Configuration): void {
  const ours = Object.values(services)
    .flatMap(({ volumes = [] }) => volumes)
    .filter(({ type, read_only }) => type === 'bind' && !read_only);
  for (const { Name, Mounts, State } of foreign) {
    const shared = Mounts.find(
      (mount) => mount.RW && State.Running && ours.some(({ source }) => source === mount.Source),
    );
    if (shared) throw taken(`${shared.Source} is written to by the container ${Name.slice(1)}, which runs`);
  }
}

/** The last lines of every container that does not run well. */
async function showFailed({ host, report }: Pick<Context, 'host' | 'report'>): Promise<void> {
  const { inspect, lastLines, stateOf } = await import('../../lib/deploy/compose-containers.ts');
  for (const container of await inspect(host, await ours(host, 'container'))) {
    if (stateOf([container]).is === 'healthy') continue;
    // What cannot be said of the failure must not stand in its place.
    const lines = await lastLines(host, container).catch((silent: unknown) => [messageOf(silent)]);
    report.summary(lines.join('\n'));
  }
}

/** What a service or an address is found to answer, and whether that is right. */
interface Finding {
  url: string;
  answer: string;
  ok: boolean;
}

/** Every service has a container that runs, or did its work and ended. */
async function checkServices(host: Host, services: readonly string[]): Promise<Finding[]> {
  const { inspect, stateOf } = await import('../../lib/deploy/compose-containers.ts');
  const containers = await inspect(host, await ours(host, 'container'));
  return services.map((service) => {
    const found = containers.find((one) => one.service === service);
    if (!found) return { url: service, answer: 'has no container', ok: false };
    const answer = [found.status, found.health?.status].filter(Boolean).join(', ');
    return { url: service, answer, ok: found.status === 'running' || stateOf([found]).is === 'healthy' };
  });
}

/** Asks until the answer is right, or has been wrong for ten seconds. Redirects are not followed. */
async function checkUrl(url: WebAddress, signal: AbortSignal): Promise<Finding> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const finding = await askOnce(url, signal);
    if (finding.ok || Date.now() > deadline) return finding;
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function askOnce(address: WebAddress, signal: AbortSignal): Promise<Finding> {
  const url = String(address);
  try {
    const response = await request(address.reveal(), {
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    const illness = response.status === 200 ? illnessIn(await textOf(response)) : undefined;
    const answer = [String(response.status), ...(illness ? [illness] : [])].join(': ');
    return { url, answer, ok: response.status === 200 && illness === undefined };
  } catch (error) {
    signal.throwIfAborted();
    return { url, answer: `no answer (${messageOf((error as Error).cause ?? error)})`, ok: false };
  }
}

/** What an answer in JSON says to be wrong: `status is "unhealthy"`. */
export function illnessIn(text: string): string | undefined {
  if (text.length > LARGEST_VERDICT) return undefined;
  try {
    return illness(JSON.parse(text), '', DEPTH);
  } catch {
    // No JSON: that it is there is all that can be said of it.
    return undefined;
  }
}

function illness(value: unknown, path: string, depth: number): string | undefined {
  if (typeof value === 'string' && ILL.test(value.trim()))
    return `${path || 'it'} is ${JSON.stringify(value)}`;
  if (value === false && /(^|\.)(ok|healthy|success|ready)$/i.test(path)) return `${path} is false`;
  if (typeof value !== 'object' || value === null || Array.isArray(value) || depth === 0) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const found = illness(item, path ? `${path}.${key}` : key, depth - 1);
    if (found) return found;
  }
  return undefined;
}
