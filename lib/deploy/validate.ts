import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { count, table } from '../format.ts';
import { type Command, cmd, type Host } from '../shell.ts';
import { request, textOf, type WebAddress } from '../web.ts';
import { awaitHealthy, inspect, lastLines } from './compose-containers.ts';
import { LABEL, type Named, type Project } from './compose-project.ts';

interface Mine {
  name: string;
  mark: string;
}

/** What validations of this checkout made, by id or name. */
async function ours(
  host: Host,
  kind: 'container' | 'network' | 'volume',
  { mark }: Pick<Mine, 'mark'>,
): Promise<string[]> {
  const all = kind === 'container' ? ['--all'] : [];
  const filter = ['--filter', `label=${LABEL}=${mark}`];
  const text = await host.run(cmd`docker ${kind} ls ${all} --quiet ${filter}`);
  return text.split('\n').filter(Boolean);
}

/**
 * Removes the containers and networks that validations of this checkout made, and of their volumes those that Compose
 * named after the validation's project: one with a name of its own could be another project's tomorrow, and is kept.
 */
export async function cleanUp(
  project: Mine,
  { change, host, report }: Pick<Context, 'change' | 'host' | 'report'>,
): Promise<void> {
  const [containers, networks, volumes] = await Promise.all([
    ours(host, 'container', project),
    ours(host, 'network', project),
    ours(host, 'volume', project),
  ]);
  const own = volumes.filter((volume) => volume.startsWith(`${project.name}_`));
  for (const volume of volumes.filter((one) => !own.includes(one)))
    report.info(`= the volume ${volume} is kept: its name is one that other projects may use`);
  const remove: Array<[string, string[], Command]> = [
    // Their anonymous volumes with them; those that have a name stay.
    ['container', containers, cmd`docker rm --force --volumes ${containers}`],
    ['network', networks, cmd`docker network rm ${networks}`],
    ['volume', own, cmd`docker volume rm ${own}`],
  ];
  if (remove.every(([, names]) => names.length === 0))
    return report.info(`= nothing of ${project.name} is left here`);
  for (const [noun, names, command] of remove)
    if (names.length > 0)
      await change(`remove ${count(names.length, noun)}`, [command], () => host.run(command));
}

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

/** What an address is found to answer: the status, and what is wrong with it, if something is. */
export interface Finding {
  url: string;
  answer: string;
  ok: boolean;
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

type Work = Pick<Context, 'change' | 'host' | 'report' | 'signal'>;

const REMOVE = 'to remove it: npx tsx scripts/deploy/validate-local.ts --cleanup';

/** Builds and starts it, and waits until every container is healthy. @throws Failure with the log of the one that is not */
export async function start(
  project: Project,
  timeoutS: number,
  { change, host, report, signal }: Work,
): Promise<void> {
  try {
    await change(`build and start ${project.name}`, [project.up], () => host.run(project.up, project.marked));
    await change('wait until all containers are healthy', [], async () =>
      awaitHealthy(host, await ours(host, 'container', project), {
        timeoutMs: timeoutS * 1000,
        healthyForMs: 0,
        signal,
      }),
    );
  } catch (error) {
    if (signal.aborted) report.info(`what was started is still there; ${REMOVE}`);
    else await showFailed(project, { host, report });
    throw error;
  }
}

/** The last lines of every container that does not run well. */
async function showFailed(project: Project, { host, report }: Pick<Work, 'host' | 'report'>): Promise<void> {
  for (const container of await inspect(host, await ours(host, 'container', project))) {
    const { status, exitCode, health } = container;
    if (
      status === 'running'
        ? (health?.status ?? 'healthy') === 'healthy'
        : exitCode === 0 && status === 'exited'
    )
      continue;
    // What cannot be told of the failure must not stand in its place.
    const told = await lastLines(host, container).catch((silent: unknown) => [messageOf(silent)]);
    report.summary(told.join('\n'));
  }
}

/** Every service has its container, and every address answers as it should. */
export async function check(
  project: Project,
  urls: readonly WebAddress[],
  { host, signal }: Work,
): Promise<Finding[]> {
  const containers = await inspect(host, await ours(host, 'container', project));
  const services = Object.keys(project.configuration.services).map((service): Finding => {
    const found = containers.find((one) => one.service === service);
    const ended =
      found?.status === 'exited' && found.exitCode === 0 && /^(no|on-failure|)$/.test(found.restartPolicy);
    const answer = found
      ? [found.status, found.health?.status].filter(Boolean).join(', ')
      : 'has no container';
    return { url: service, answer, ok: ended || found?.status === 'running' };
  });
  return [...services, ...(await Promise.all(urls.map((url) => checkUrl(url, signal))))];
}

export const describe = (findings: readonly Finding[]): string =>
  table(findings.map(({ url, answer, ok }) => [ok ? '✓' : '✗', url, answer]));

/** @throws Failure with exit 3 that names what is wrong */
export function refuseInvalid(findings: readonly Finding[], { name }: Project): void {
  const wrong = findings.filter(({ ok }) => !ok);
  if (wrong.length === 0) return;
  throw new Failure(wrong.map(({ url, answer }) => `${url}: ${answer}`).join('; '), {
    exit: EXIT.problem,
    next: `look at it with docker compose --project-name ${name} logs; ${REMOVE}`,
  });
}

/**
 * Refuses to start where something of another project would be shared: a volume, a directory that a database writes to,
 * a network on which our containers would answer to the names of theirs, a container of the same name. On a production
 * host all of them are there.
 * @throws Problems that name each
 */
export async function refuseOthers(host: Host, project: Project): Promise<void> {
  const { services, volumes = {}, networks = {} } = project.configuration;
  const { containers, byName } = await inspectContainers(host);
  const foreign = containers.filter(({ Config }) => Config.Labels[LABEL] !== project.mark);
  const called = Object.values(services).flatMap(({ container_name: name }) => name ?? []);
  await checkAll([
    ...Object.values(volumes).map((volume) => () => refuseForeign(host, 'volume', volume, project)),
    ...Object.values(networks).map((network) => () => refuseForeign(host, 'network', network, project)),
    () => refuseProject(foreign, project),
    ...called.map((name) => () => {
      if (byName.has(name) && foreign.includes(byName.get(name)!))
        throw taken(`the container ${name} is there already`);
    }),
    () => refuseDirectories(foreign, project),
  ]);
}

interface Inspected {
  Name: string;
  Config: { Labels: Record<string, string> };
  State: { Running: boolean };
  Mounts: Array<{ Type: string; Source: string; RW: boolean }>;
}

async function inspectContainers(
  host: Host,
): Promise<{ containers: Inspected[]; byName: Map<string, Inspected> }> {
  const ids = (await host.run(cmd`docker ps --all --quiet`)).split('\n').filter(Boolean);
  const containers =
    ids.length === 0 ? [] : (JSON.parse(await host.run(cmd`docker container inspect ${ids}`)) as Inspected[]);
  return { containers, byName: new Map(containers.map((one) => [one.Name.slice(1), one])) };
}

const taken = (what: string) =>
  new Failure(`${what}, and was not made by a validation of this checkout`, {
    next: 'validate on a machine where the app does not run, or give it another name in a compose file for validation',
  });

/** One of that name which is there has to carry our label. */
async function refuseForeign(
  host: Host,
  kind: 'volume' | 'network',
  { name, external }: Named,
  { mark }: Project,
): Promise<void> {
  const text = await host.run(cmd`docker ${kind} ls --filter ${`name=^${name}$`} --format ${'{{.Name}}'}`);
  // As a filter, the name of a volume is any part of it.
  if (!text.split('\n').includes(name)) return;
  const labels = await host.run(cmd`docker ${kind} inspect --format ${'{{json .Labels}}'} ${name}`);
  const ours = ((JSON.parse(labels) ?? {}) as Record<string, string>)[LABEL] === mark;
  if (external || !ours) throw taken(`the ${kind} ${name} is there already`);
}

function refuseProject(foreign: readonly Inspected[], { name }: Project): void {
  const [first] = foreign.filter(({ Config }) => Config.Labels['com.docker.compose.project'] === name);
  if (first) throw taken(`the container ${first.Name.slice(1)} of the project ${name} is there already`);
}

/** Two databases on one directory destroy it. */
function refuseDirectories(foreign: readonly Inspected[], { configuration }: Project): void {
  const ours = Object.values(configuration.services)
    .flatMap(({ volumes = [] }) => volumes)
    .filter(({ type, read_only }) => type === 'bind' && !read_only);
  for (const { Name, Mounts, State } of foreign) {
    const shared = Mounts.find(
      (mount) => mount.RW && State.Running && ours.some(({ source }) => source === mount.Source),
    );
    if (shared) throw taken(`${shared.Source} is written to by the container ${Name.slice(1)}, which runs`);
  }
}
