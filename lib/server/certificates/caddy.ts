import { type WebProxy, within } from './proxy.ts';
import { bad, good, lifetimeRow, type Row } from './row.ts';
import { type Served, served } from './served.ts';
import type { Site } from './site.ts';

/** Caddy gets and renews its certificates itself; what can go wrong is that it loses them, or is not reached. */
export async function caddyRows({ settings, signal, now }: Site, proxy: WebProxy): Promise<Row[]> {
  const { PROXY_SERVICE: service, DOMAIN: names } = settings;
  const answers = await Promise.all(names.map((name) => served(name, signal)));
  return [
    good('certificate', `none is needed: ${service} is a Caddy, which gets and renews its own`),
    proxy.steady
      ? good('proxy', `${service} runs`)
      : bad('proxy', `${service} does not run`, `see: docker compose logs ${service}`),
    dataRow(proxy, service),
    ...names.flatMap((name, i) => servedRows(name, answers[i] as Served, now)),
  ];
}

/** A volume without a name of its own goes with its container. */
const ANONYMOUS = /^[0-9a-f]{64}$/;

function dataRow({ mounts, dataDirectory }: WebProxy, service: string): Row {
  const mount = mounts.find(({ Destination }) => within(dataDirectory, Destination));
  if (mount && !ANONYMOUS.test(mount.Name ?? ''))
    return good('data', `${dataDirectory} is in ${mount.Name ?? mount.Source}`);
  return bad(
    'data',
    `${dataDirectory} goes with the container: each new one asks for new certificates`,
    `mount a named volume there in ${service}; authorities limit how often they issue the same`,
  );
}

function servedRows(name: string, { certificate, problem }: Served, now: Date): Row[] {
  const row = `served by ${name}`;
  if (!certificate || problem) return [bad(row, problem?.found ?? 'nothing', problem?.todo ?? '')];
  return [lifetimeRow(row, certificate, now)];
}
