import { bytes, count, duration, grouped } from '../format.ts';
import { redact } from '../secret.ts';
import { ok, problem, type Row, warning } from './verify-settings.ts';

/** Parts of a file system in use from which on it is a warning, and a problem. */
const FILLING = 0.8;
const FULL = 0.9;

interface FileSystem {
  mount: string;
  used: number;
  free: number;
}

/** What is always full, is nobody's disk, or is another one's seen again. */
const PASSED_OVER = /^(squashfs|iso9660|devtmpfs|efivarfs|fuse\.snapfuse)$/;
const NOT_A_DISK = /^\/(dev|proc|sys|run|snap|boot\/efi)(\/|$)|\/(overlay2|containers|netns|overlayfs)\//;

/** The file systems in the output of `df -PT`, each once. */
export function parseFileSystems(text: string): FileSystem[] {
  const found = new Map<string, FileSystem>();
  for (const line of text.split('\n')) {
    const [, type = '', used = '', free = '', mount = ''] =
      /^.+?\s+(\S+)\s+\d+\s+(\d+)\s+(\d+)\s+\d+%\s+(\/.*)$/.exec(line) ?? [];
    if (mount === '' || PASSED_OVER.test(type) || NOT_A_DISK.test(mount)) continue;
    if (Number(used) + Number(free) > 0) found.set(mount, { mount, used: Number(used), free: Number(free) });
  }
  return [...found.values()];
}

const part = ({ used, free }: FileSystem) => used / (used + free);
const percent = (x: number) => `${Math.round(x * 100)} %`;

function fillRows(check: string, text: string, free: (system: FileSystem) => string, todo: string): Row[] {
  const systems = parseFileSystems(text).sort((a, b) => part(b) - part(a));
  const expected = `less than ${percent(FULL)} used`;
  const found = (one: FileSystem) => `${one.mount} is ${percent(part(one))} used, ${free(one)} free`;
  const full = systems.filter((one) => part(one) >= FULL);
  const filling = systems.filter((one) => part(one) >= FILLING && part(one) < FULL);
  if (full.length + filling.length > 0)
    return [
      ...full.map((one) => problem(check, found(one), expected, todo)),
      ...filling.map((one) => warning(check, found(one), expected, todo)),
    ];
  const [fullest] = systems;
  return fullest ? [ok(check, found(fullest), expected)] : [];
}

/** Room on every disk, of `df -PkT`. */
export const diskRows = (text: string): Row[] =>
  fillRows(
    'disk',
    text,
    ({ free }) => bytes(free * 1024),
    // Not "docker system prune": it takes the images with it that a rollback needs, and volumes of what is stopped.
    'find what fills it: du -xh --max-depth=2 MOUNT | sort -h; docker system df',
  );

/** Inodes: a disk with room for bytes and none for files is full all the same. */
export const inodeRows = (text: string): Row[] =>
  fillRows(
    'inodes',
    text,
    ({ free }) => grouped(free),
    'find where the many files are: du --inodes -x --max-depth=2 MOUNT | sort -n',
  );

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
export function memoryRows(text: string): Row[] {
  const kb = meminfo(text);
  const [total, available] = [kb('MemTotal'), kb('MemAvailable')];
  const found = `${bytes(available * 1024)} of ${bytes(total * 1024)} available`;
  const expected = `${percent(SCARCE)} or more available`;
  const todo = 'see who has it: docker stats --no-stream; ps -eo rss,args --sort -rss | head';
  if (available / total < USED_UP) return [problem('memory', found, expected, todo)];
  if (available / total < SCARCE) return [warning('memory', found, expected, todo)];
  return [ok('memory', found, expected)];
}

/** Swap: none on a small machine, or used up. */
export function swapRows(text: string): Row[] {
  const kb = meminfo(text);
  const [total, free] = [kb('SwapTotal'), kb('SwapFree')];
  if (total === 0) {
    const expected = 'some, on a machine with little memory';
    if (kb('MemTotal') > SMALL_KB) return [ok('swap', 'none, and enough memory', expected)];
    const found = `none, and only ${bytes(kb('MemTotal') * 1024)} of memory`;
    return [warning('swap', found, expected, 'run the set-up: it adds swap to small machines')];
  }
  const used = (total - free) / total;
  const found = `${percent(used)} of ${bytes(total * 1024)} used`;
  const expected = `less than ${percent(SWAPPING)} used`;
  if (used < SWAPPING) return [ok('swap', found, expected)];
  return [problem('swap', found, expected, 'see who has it: docker stats --no-stream; add memory')];
}

/** A port on which somebody beside the host itself can knock. */
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

const PROFILES: Readonly<Record<string, number[]>> = {
  ...{ OpenSSH: [22], 'Nginx Full': [80, 443], 'Nginx HTTP': [80], 'Nginx HTTPS': [443] },
};

/** Whether ufw lets everybody in at a port; undefined where there is no ufw, or it is off. */
export function parseUfw(text: string): ((port: number) => boolean) | undefined {
  if (!/^Status: active$/m.test(text)) return undefined;
  const ranges: Array<[number, number]> = [];
  for (const line of text.split('\n')) {
    const [, to = ''] = /^(.+?)(?: \(v6\))?\s+(?:ALLOW|LIMIT)(?: IN)?\s+Anywhere/.exec(line) ?? [];
    for (const port of (Object.hasOwn(PROFILES, to) && PROFILES[to]) || []) ranges.push([port, port]);
    const [, ports = '', protocol = 'tcp'] = /^([\d,:]+)(?:\/(\w+))?$/.exec(to) ?? [];
    if (protocol !== 'tcp') continue;
    for (const item of ports.split(',').filter(Boolean)) {
      const [from = 0, last = from] = item.split(':').map(Number);
      ranges.push([from, last]);
    }
    if (to === 'Anywhere') ranges.push([0, 65_535]);
  }
  return (port) => ranges.some(([from, to]) => from <= port && port <= to);
}

/** Whether the chain by which one can keep Docker's ports shut lets in at a port, of `iptables -S DOCKER-USER`. */
function parseDockerUser(text: string): (port: number) => boolean {
  const rules = text.split('\n');
  const shut = rules.some((rule) => /^-A DOCKER-USER(?: -i \S+)? -j (DROP|REJECT)/.test(rule));
  const port = (n: number) => new RegExp(`--(?:ctorigdstport|dport) ${n}(?!\\d).* -j (?:RETURN|ACCEPT)`);
  return (n) => !shut || rules.some((rule) => port(n).test(rule));
}

/** Whether nothing can be reached from outside that is not meant to be. A cloud's own firewall is not seen here. */
export function portRows(text: string, expected: readonly number[]): Row[] {
  const [listening = '', docker = '', ufw = '', dockerUser = ''] = text.split(/^-- [\w-]+\n/m);
  const published = parsePublished(docker);
  const others = parseListening(listening).filter(({ port }) => !published.some((one) => one.port === port));
  const [byUfw, byDocker] = [parseUfw(ufw), parseDockerUser(dockerUser)];
  const open = [
    ...others.filter(({ port }) => byUfw?.(port) ?? true),
    ...published.filter((one) => byDocker(one.port)),
  ];
  const ports = [...new Set(open.map(({ port }) => port))].sort((a, b) => a - b);
  const wanted = `open: ${expected.join(', ')}`;
  const rows = ports
    .filter((port) => !expected.includes(port))
    .map((port) => {
      const one = open.find((o) => o.port === port) as Open;
      return row(one, byUfw !== undefined, wanted);
    });
  if (rows.length > 0) return rows;
  const shut = byUfw ? 'ufw is on' : 'no firewall on the host';
  return [ok('ports', `open: ${ports.join(', ') || 'none'}; ${shut}`, wanted)];
}

function row({ port, who, published }: Open, ufw: boolean, wanted: string): Row {
  if (!published)
    return problem(
      'ports',
      `${who} listens on ${port}${ufw ? ', and ufw lets everybody in' : ''}`,
      wanted,
      `let it listen on 127.0.0.1, or close ${port}; if it is meant, add it to OPEN_PORTS`,
    );
  return problem(
    'ports',
    `Docker publishes ${port} of ${who}${ufw ? ', which ufw does not keep shut' : ''}`,
    wanted,
    `publish it on 127.0.0.1 ("127.0.0.1:${port}:…"), or not at all; if it is meant, add it to OPEN_PORTS`,
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

const EXPECTED = 'every service runs, and is healthy if it can say so';

/** The services of the compose file, `--`, and a line of JSON for each container of the app. */
function parseContainers(text: string): { services: string[]; containers: Container[] } {
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

const LOGS_EXPECTED = 'no error lines in the last hour';

/** A row for each container that wrote errors, with its last ones: `name`, their number and one of them a line. */
export function logRows(text: string): Row[] {
  const found = new Map<string, { n: number; lines: string[] }>();
  for (const line of text.split('\n').filter(Boolean)) {
    const [who = '', n = '', ...words] = line.split('\t');
    const one = found.get(who) ?? { n: Number(n), lines: [] };
    one.lines.push(redact(words.join(' ')));
    found.set(who, one);
  }
  if (found.size === 0) return [ok('logs', 'none', LOGS_EXPECTED)];
  return [...found].sort().map(([who, { n, lines }]) => {
    const todo = `read them: remote logs ${who.replace(/-\d+$/, '')} --since 1h`;
    return {
      ...problem('logs', `${who}: ${count(n, 'error line')} in the last hour`, LOGS_EXPECTED, todo),
      lines,
    };
  });
}
