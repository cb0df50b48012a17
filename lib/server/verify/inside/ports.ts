import { ok, problem, type Row } from '../row.ts';

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
export function parseDockerUser(text: string): (port: number) => boolean {
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
