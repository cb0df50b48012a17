import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { AwsError } from '../errors.ts';
import type { State } from '../state.ts';
import type { Group, GroupConfig, Target } from './state.ts';

/** Ports of the front's container that are published for this (cloud/aws.ts): one for each target group. */
export const balancerPorts = [8081, 8082, 8083, 8084, 8085, 8086, 8087, 8088];

/** A group that balances on a port of its own. @throws AwsError when all ports are taken */
export function openBalancer({ elb }: State, arn: string, config: GroupConfig): Group {
  const taken = new Set([...elb.groups.values()].map(({ port }) => port));
  const port = balancerPorts.find((one) => !taken.has(one));
  if (port === undefined)
    throw new AwsError('TooManyTargetGroups', 'The sandbox has no port left for another target group');
  const group: Group = {
    arn,
    config,
    read: Date.now(),
    targets: [],
    port,
    turn: 0,
    server: createServer((request, response) => balance(group, request, response)),
  };
  group.server.keepAliveTimeout = 60_000;
  group.server.listen(port, '0.0.0.0');
  elb.groups.set(arn, group);
  return group;
}

/** The target of the next request: healthy ones in turn; when none is healthy, any, as a load balancer fails open. */
function next(group: Group): Target | undefined {
  const registered = group.targets.filter(
    ({ draining, health }) => draining === undefined && health !== 'unused',
  );
  const healthy = registered.filter(({ health }) => health === 'healthy');
  const all = healthy.length > 0 ? healthy : registered;
  group.turn += 1;
  return all[group.turn % all.length];
}

function balance(group: Group, request: IncomingMessage, response: ServerResponse): void {
  const target = next(group);
  if (target?.address === undefined) {
    refuse(response, 503, 'Service Temporarily Unavailable');
    return;
  }
  // Each request has a connection of its own: no target can close one that is about to be used again.
  const onward = httpRequest({
    ...{ host: target.address, port: target.port, method: request.method, path: request.url, agent: false },
    headers: { ...request.headers, 'x-forwarded-for': request.socket.remoteAddress, connection: 'close' },
  });
  onward.on('response', (answer) => {
    const { connection: _, ...headers } = answer.headers;
    response.writeHead(answer.statusCode ?? 502, headers);
    answer.pipe(response);
    answer.on('error', () => response.destroy());
  });
  onward.on('error', () => {
    if (response.headersSent) response.destroy();
    else refuse(response, 502, 'Bad Gateway');
  });
  response.on('close', () => onward.destroy());
  request.pipe(onward);
}

const refuse = (response: ServerResponse, status: number, text: string): unknown =>
  response.writeHead(status, text, { 'Content-Type': 'text/html' }).end(`<h1>${status} ${text}</h1>\n`);
