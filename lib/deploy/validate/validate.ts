import { EXIT, Failure, messageOf } from '../../failure.ts';
import { table } from '../../format.ts';
import type { Context } from '../../script.ts';
import type { WebAddress } from '../../web.ts';
import { inspect, lastLines } from '../compose/containers.ts';
import { awaitHealthy } from '../compose/healthy.ts';
import { ours } from './cleanup.ts';
import type { Project } from './project.ts';
import { checkUrl, type Finding } from './urls.ts';

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
