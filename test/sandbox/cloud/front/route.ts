import type { IncomingMessage, ServerResponse } from 'node:http';
import { control } from './control.ts';
import { ec2 } from './ec2.ts';
import { gate } from './ecr/gate.ts';
import { ecr } from './ecr.ts';
import { ecs } from './ecs.ts';
import { elbv2 } from './elbv2.ts';
import { AwsError } from './errors.ts';
import { ask, forward, refusal, relay } from './forward.ts';
import { answer, type Call, fail, read } from './protocol.ts';
import type { Service } from './service.ts';
import { ssm } from './ssm.ts';
import { newState } from './state.ts';

/** Services that the front answers calls of, by the name that requests are signed for. */
const services: Record<string, Service> = {
  ec2,
  ecr,
  ecs,
  elasticloadbalancing: elbv2,
  ssm,
};
const state = newState();

const signedFor = ({ headers }: IncomingMessage): string =>
  /Credential=[^/]+\/\d+\/[^/]+\/([\w-]+)\/aws4_request/.exec(headers.authorization ?? '')?.[1] ?? '';

/** Where the AWS CLI of the tests listens (images/moto/aws_cli.py). */
const cliPort = 5003;

/** Answers a request where an operation of the front is called; everything else is moto's. */
export function route(request: IncomingMessage, response: ServerResponse, motoPort: number): void {
  if (request.url === '/sandbox/aws') return void forward(request, response, cliPort);
  if (request.url?.startsWith('/sandbox/')) return void control(request, response, services, state);
  const service = services[signedFor(request)];
  if (!service) {
    forward(request, response, motoPort);
    return;
  }
  serve(service, request, response, motoPort).catch((error: Error) => {
    console.error(error);
    response.destroy();
  });
}

/** Answers an engine that pushes or pulls. */
export function routeRegistry(request: IncomingMessage, response: ServerResponse, registry: number): void {
  gate(request, response, registry, state);
}

async function serve(
  service: Service,
  request: IncomingMessage,
  response: ServerResponse,
  motoPort: number,
): Promise<void> {
  const body = Buffer.concat(await request.toArray());
  const call = read(service, request, body);
  const operation = call && service.operations[call.name];
  if (!call || !operation) return forward(request, response, motoPort, body);
  try {
    service.before?.(call.name, state);
    if ('amend' in operation) {
      const said = await ask(request, motoPort, body);
      if (said.status >= 300) relay(response, said);
      else answer(service, call, response, await operation.amend(JSON.parse(said.body.toString()), state));
      return;
    }
    const resources = (await operation.resources?.(call.input, state)) ?? ['*'];
    const refused = await refusal(request, motoPort, body, resources);
    if (refused) relay(response, refused);
    else answer(service, call, response, await operation.run(call.input, state));
  } catch (error) {
    fail(service, response, known(error, call));
  }
}

function known(error: unknown, { name }: Call): AwsError {
  if (error instanceof AwsError) return error;
  console.error(name, error);
  return new AwsError('InternalServerError', String(error), 500);
}
