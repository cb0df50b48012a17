import { bytes, count, duration, grouped } from '../format.ts';
import { redact } from '../secret.ts';
import { type Finding, finding, ok, problem } from './verify-report.ts';

/** Parts of a file system in use from which on it is a warning, and a problem. */
const FILLING = 0.8;
const FULL = 0.9;

interface FileSystem {
  mount: string;
  used: number;
  free: number;
}

/** File systems that are always full or no disk at all, and places where others are mounted again. */
const IGNORED = /^(squashfs|iso9660|devtmpfs|efivarfs|fuse\.snapfuse)$/;
const NOT_A_DISK = /^\/(dev|proc|sys|run|snap|boot\/efi)(\/|$)|\/(overlay2|containers|netns|overlayfs)\//;

/** The file systems in the output of `df -PT`, each once. */
export function parseFileSystems(text: string): FileSystem[] {
  const found = new Map<string, FileSystem>();
  for (const line of text.split('\n')) {
    const [, type = '', used = '', free = '', mount = ''] =
      /^.+?\s+(\S+)\s+\d+\s+(\d+)\s+(\d+)\s+\d+%\s+(\/.*)$/.exec(line) ?? [];
    if (mount === '' || IGNORED.test(type) || NOT_A_DISK.test(mount)) continue;
    if (Number(used) + Number(free) > 0) found.set(mount, { mount, used: Number(used), free: Number(free) });
  }
  return [...found.values()];
}

const percent = (x: number) => `${Math.round(x * 100)} %`;

/** A finding for each file system that is filling, or for the fullest where none is. */
function judgeFill(text: string, describeFree: (free: number) => string, todo: string): Finding[] {
  const part = ({ used, free }: FileSystem) => used / (used + free);
  const findings = parseFileSystems(text)
    .sort((a, b) => part(b) - part(a))
    .map((one) => {
      const state = part(one) >= FULL ? 'problem' : part(one) >= FILLING ? 'warning' : 'ok';
      const found = `${one.mount} is ${percent(part(one))} used, ${describeFree(one.free)} free`;
      return finding(state, found, `less than ${percent(FULL)} used`, todo);
    });
  const filling = findings.filter(({ state }) => state !== 'ok');
  return filling.length > 0 ? filling : findings.slice(0, 1);
}

/** Room on every disk, of `df -PkT`. */
export const judgeDisk = (text: string): Finding[] =>
  judgeFill(
    text,
    (free) => bytes(free * 1024),
    // Not "docker system prune": it takes the images with it that a rollback needs, and volumes of what is stopped.
    'find what fills it: du -xh --max-depth=2 MOUNT | sort -h; docker system df',
  );

/** Inodes, of `df -PiT`: a disk with room for bytes and none for files is full all the same. */
export const judgeInodes = (text: string): Finding[] =>
  judgeFill(text, grouped, 'find where the many files are: du --inodes -x --max-depth=2 MOUNT | sort -n');

/** Part of the memory that should be available. */
const SCARCE = 0.1;
const USED_UP = 0.05;
/** Part of the swap in use from which on the machine is short of memory. */
const SWAPPING = 0.8;
/** With less memory than this, in kB, a build or a restore ends a container. */
const SMALL_KB = 2_100_000;

function meminfo(text: string): (name: string) => number {
  return (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
}

/** Memory that is available without swapping, of /proc/meminfo. */
export function judgeMemory(text: string): Finding[] {
  const kb = meminfo(text);
  const [total, available] = [kb('MemTotal'), kb('MemAvailable')];
  const part = available / total;
  const state = part < USED_UP ? 'problem' : part < SCARCE ? 'warning' : 'ok';
  const found = `${bytes(available * 1024)} of ${bytes(total * 1024)} available`;
  const todo = 'see who has it: docker stats --no-stream; ps -eo rss,args --sort -rss | head';
  return [finding(state, found, `${percent(SCARCE)} or more available`, todo)];
}

/** Swap, of /proc/meminfo: none on a small machine, or used up. */
export function judgeSwap(text: string): Finding[] {
  const kb = meminfo(text);
  const [memory, total, free] = [kb('MemTotal'), kb('SwapTotal'), kb('SwapFree')];
  if (total === 0) {
    const expected = 'some, on a machine with little memory';
    if (memory > SMALL_KB) return [ok('none, and enough memory', expected)];
    const found = `none, and only ${bytes(memory * 1024)} of memory`;
    return [finding('warning', found, expected, 'run the set-up: it adds swap to small machines')];
  }
  const part = (total - free) / total;
  const found = `${percent(part)} of ${bytes(total * 1024)} used`;
  const todo = 'see who has it: docker stats --no-stream; add memory';
  return [finding(part < SWAPPING ? 'ok' : 'problem', found, `less than ${percent(SWAPPING)} used`, todo)];
}

/** A port that others than the host itself can reach. */
interface Open {
  port: number;
  who: string;
  /** Docker publishes it, past ufw. */
  published: boolean;
}

const LOOPBACK = /^(127\.|\[?::1\]?$|\[?::ffff:127\.)/;

/** What listens, of `ss -Hltnp`. */
function parseListening(text: string): Open[] {
  return text.split('\n').flatMap((line) => {
    const [, , , local = '', , users = ''] = line.trim().split(/\s+/);
    const [, address = '', port = ''] = /^(.*):(\d+)$/.exec(local) ?? [];
    if (port === '' || LOOPBACK.test(address.replace(/%.*/, ''))) return [];
    return [{ port: Number(port), who: /"([^"]+)"/.exec(users)?.[1] ?? 'a process', published: false }];
  });
}

/** What Docker publishes, of `docker ps`: `web-1 0.0.0.0:80->80/tcp, [::]:80->80/tcp`. */
function parsePublished(text: string): Open[] {
  return text.split('\n').flatMap((line) => {
    const [who = '', ...ports] = line.split(/,?\s+/);
    return ports.flatMap((mapping) => {
      const [, address = '', from = '', to] = /^(.*):(\d+)(?:-(\d+))?->[\d-]+\/tcp$/.exec(mapping) ?? [];
      if (from === '' || LOOPBACK.test(address)) return [];
      const length = Number(to ?? from) - Number(from) + 1;
      return Array.from({ length }, (_, i) => ({ port: Number(from) + i, who, published: true }));
    });
  });
}

/** The names that ufw has for ports. */
const PROFILES = new Map(
  Object.entries({
    ...{ OpenSSH: '22', 'Nginx Full': '80,443', 'Nginx HTTP': '80', 'Nginx HTTPS': '443' },
    Anywhere: '0:65535',
  }),
);

/** Whether ufw lets everybody in at a port; undefined where there is no ufw, or it is off. */
export function parseUfw(text: string): ((port: number) => boolean) | undefined {
  if (!/^Status: active$/m.test(text)) return undefined;
  const ranges = text.split('\n').flatMap((line) => {
    const [, to = ''] = /^(.+?)(?: \(v6\))?\s+(?:ALLOW|LIMIT)(?: IN)?\s+Anywhere/.exec(line) ?? [];
    const [, ports] = /^([\d,:]+)(?:\/tcp)?$/.exec(PROFILES.get(to) ?? to) ?? [];
    return ports?.split(',').map((item) => item.split(':').map(Number)) ?? [];
  });
  return (port) => ranges.some(([from = 0, last = from]) => from <= port && port <= last);
}

/** Whether the chain that can close Docker's ports lets everybody in at a port, of `iptables -S DOCKER-USER`. */
function parseDockerUser(text: string): (port: number) => boolean {
  const closes = /^-A DOCKER-USER(?: -i \S+)? -j (DROP|REJECT)/m.test(text);
  const opens = (port: number) =>
    new RegExp(`--(?:ctorigdstport|dport) ${port}(?!\\d).* -j (?:RETURN|ACCEPT)`).test(text);
  return (port) => !closes || opens(port);
}

/** Whether nothing can be reached from outside that is not meant to be. A cloud's own firewall is not seen here. */
export function judgePorts(text: string, allowed: readonly number[]): Finding[] {
  const [listening = '', docker = '', ufw = '', dockerUser = ''] = text.split(/^-- [\w-]+\n/m);
  const [byUfw, byDocker] = [parseUfw(ufw), parseDockerUser(dockerUser)];
  const published = parsePublished(docker);
  const ofDocker = new Set(published.map(({ port }) => port));
  const others = parseListening(listening).filter(
    ({ port }) => !ofDocker.has(port) && byUfw?.(port) !== false,
  );
  const open = new Map<number, Open>();
  for (const one of [...others, ...published.filter(({ port }) => byDocker(port))])
    if (!open.has(one.port)) open.set(one.port, one);
  const ports = [...open.keys()].sort((a, b) => a - b);
  const expected = `open: ${allowed.join(', ')}`;
  const stray = ports.filter((port) => !allowed.includes(port));
  if (stray.length > 0) return stray.map((port) => strayPort(open.get(port)!, byUfw !== undefined, expected));
  const firewall = byUfw ? 'ufw is on' : 'no firewall on the host';
  return [ok(`open: ${ports.join(', ') || 'none'}; ${firewall}`, expected)];
}

function strayPort({ port, who, published }: Open, hasUfw: boolean, expected: string): Finding {
  const meant = 'if it is meant to be open, add it to OPEN_PORTS';
  if (!published)
    return problem(
      `${who} listens on ${port}${hasUfw ? ', and ufw lets everybody in' : ''}`,
      expected,
      `let it listen on 127.0.0.1, or close ${port}; ${meant}`,
    );
  return problem(
    `Docker publishes ${port} of ${who}${hasUfw ? ', which ufw does not close' : ''}`,
    expected,
    `publish it on 127.0.0.1 ("127.0.0.1:${port}:…"), or not at all; ${meant}`,
  );
}

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

const EXPECTED = 'every service runs, and is healthy if it has a health check';

/** The services of the compose file, `--`, and a line of JSON for each container of the app. */
function parseContainers(text: string): { services: string[]; containers: Container[] } {
  const lines = text.split('\n').filter(Boolean);
  const end = lines.indexOf('--');
  const containers = lines.slice(end + 1).map((line) => JSON.parse(line) as Container);
  return { services: lines.slice(0, end), containers: containers.filter((c) => c.oneOff !== 'True') };
}

/** Whether every service of the app runs and is healthy; one that had a job to do and did it is well. */
export function judgeContainers(text: string): Finding[] {
  const { services, containers } = parseContainers(text);
  const problems = services.flatMap((service) => {
    const its = containers.filter((one) => one.service === service);
    if (its.length > 0) return its.flatMap((one) => faultOf(one) ?? []);
    return [problem(`${service} has no container`, EXPECTED, 'start it: docker compose up -d')];
  });
  if (problems.length > 0) return problems;
  const done = containers.filter(({ state }) => state === 'exited').map(({ service }) => service);
  const ended = done.length > 0 ? `; ${done.join(', ')} did its job and ended` : '';
  return [ok(`${containers.length - done.length} running, all healthy${ended}`, EXPECTED)];
}

/** What is wrong with a container, if something is. */
function faultOf({ service, state, health, exit, oom, policy }: Container): Finding | undefined {
  const bad = (found: string, todo: string) => problem(`${service} ${found}`, EXPECTED, todo);
  const logs = `see why: remote logs ${service}`;
  if (state === 'running') {
    if (health === '' || health === 'healthy') return undefined;
    return bad(`is ${health}`, health === 'starting' ? 'check again in a minute' : logs);
  }
  // What is to run for ever and ended well was stopped by somebody.
  if (state === 'exited' && exit === 0 && (policy === 'no' || policy === 'on-failure')) return undefined;
  if (oom) return bad('was killed: out of memory', `give it, or the host, more memory; ${logs}`);
  if (state === 'exited')
    return bad(`is stopped (exit ${exit})`, `${logs}; start it: remote restart ${service}`);
  return bad(`is ${state}`, logs);
}

/** Containers that crash and are restarted look well at any one moment. */
export function judgeRestarts(text: string, now: Date): Finding[] {
  const expected = `at most ${MOST_RESTARTS} restarts, none in the last hour`;
  const restarted = parseContainers(text).containers.filter(({ restarts }) => restarts > 0);
  if (restarted.length === 0) return [ok('none', expected)];
  return restarted.map(({ service, restarts, started, oom }) => {
    const ago = now.getTime() - Date.parse(started);
    const times = restarts === 1 ? 'once' : `${restarts} times`;
    const found = `${service} restarted ${times}, last ${duration(ago)} ago${oom ? ', out of memory' : ''}`;
    const state = restarts <= MOST_RESTARTS && ago > RECENT_MS ? 'ok' : 'problem';
    return finding(state, found, expected, `see what it died of: remote logs ${service} --since 1d`);
  });
}

/** A finding for each container that wrote errors, with its last ones: its name, their number and one of them a line. */
export function judgeLogs(text: string): Finding[] {
  const expected = 'no error lines in the last hour';
  const lines = text
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split('\t'));
  if (lines.length === 0) return [ok('none', expected)];
  const byContainer = Object.entries(Object.groupBy(lines, ([who = '']) => who)).sort();
  return byContainer.map(([who, its = []]) => {
    const found = `${who}: ${count(Number(its[0]?.[1]), 'error line')} in the last hour`;
    const todo = `read them: remote logs ${who.replace(/-\d+$/, '')} --since 1h`;
    const shown = its.map(([, , ...words]) => redact(words.join(' ')));
    return { ...problem(found, expected, todo), lines: shown };
  });
}
