import { duration } from '../../../format.ts';
import { ok, problem, type Row } from '../row.ts';

interface Container {
  service: string;
  name: string;
  oneOff: string | null;
  state: string;
  health: string;
  exit: number;
  oom: boolean;
  restarts: number;
  /** RFC 3339. */
  started: string;
  policy: string;
}

/** More often than this a container does not restart by accident. */
const MOST_RESTARTS = 3;
const RECENT_MS = 3_600_000;

const EXPECTED = 'every service runs, and is healthy if it can say so';

/** The services of the compose file, `--`, and a line of JSON for each container of the app. */
export function parseContainers(text: string): { services: string[]; containers: Container[] } {
  const lines = text.split('\n').filter(Boolean);
  const end = lines.indexOf('--');
  const containers = lines.slice(end + 1).map((line) => JSON.parse(line) as Container);
  return { services: lines.slice(0, end), containers: containers.filter((c) => c.oneOff !== 'True') };
}

/** Whether every service of the app runs and is healthy; one that had a job to do and did it is well. */
export function containerRows(text: string): Row[] {
  const { services, containers } = parseContainers(text);
  const rows = services.flatMap((service) => {
    const its = containers.filter((one) => one.service === service);
    if (its.length === 0)
      return [
        problem('containers', `${service} has no container`, EXPECTED, 'start it: docker compose up -d'),
      ];
    return its.flatMap((one) => illness(one) ?? []);
  });
  if (rows.length > 0) return rows;
  const done = containers.filter(({ state }) => state === 'exited').map(({ service }) => service);
  const ended = done.length > 0 ? `; ${done.join(', ')} did its job and ended` : '';
  return [ok('containers', `${containers.length - done.length} run, none is ill${ended}`, EXPECTED)];
}

function illness({ service, state, health, exit, oom, policy }: Container): Row | undefined {
  const bad = (found: string, todo: string) => problem('containers', `${service} ${found}`, EXPECTED, todo);
  const logs = `see why: remote logs ${service}`;
  if (state === 'running') {
    if (health === '' || health === 'healthy') return undefined;
    return bad(`is ${health}`, health === 'starting' ? 'look again in a minute' : logs);
  }
  // What is to run for ever and ended well was stopped by somebody.
  if (state === 'exited' && exit === 0 && (policy === 'no' || policy === 'on-failure')) return undefined;
  if (oom) return bad('was killed for want of memory', `give it, or the host, more memory; ${logs}`);
  if (state === 'exited')
    return bad(`is stopped (exit ${exit})`, `${logs}; start it: remote restart ${service}`);
  return bad(`is ${state}`, logs);
}

/** Containers that crash and are restarted look well whenever one looks. */
export function restartRows(text: string, now: Date): Row[] {
  const { containers } = parseContainers(text);
  const expected = `${MOST_RESTARTS} restarts at the most, none in the last hour`;
  const rows = containers.flatMap(({ service, restarts, started, oom }) => {
    if (restarts === 0) return [];
    const ago = now.getTime() - Date.parse(started);
    const found = `${service} restarted ${times(restarts)}, last ${duration(ago)} ago${oom ? ', out of memory' : ''}`;
    if (restarts <= MOST_RESTARTS && ago > RECENT_MS) return [ok('restarts', found, expected)];
    return [problem('restarts', found, expected, `see what it died of: remote logs ${service} --since 1d`)];
  });
  return rows.length > 0 ? rows : [ok('restarts', 'none', expected)];
}

const times = (n: number) => (n === 1 ? 'once' : `${n} times`);
