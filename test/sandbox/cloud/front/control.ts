import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Input, Service } from './service.ts';
import type { State } from './state.ts';

/**
 * `/sandbox/<service>`: where tests switch faults on. GET answers what is set, POST of a JSON object sets what it names,
 * DELETE sets everything back. It asks for no signature: no client of AWS comes here by accident.
 */
export async function control(
  request: IncomingMessage,
  response: ServerResponse,
  services: Record<string, Service>,
  state: State,
): Promise<void> {
  const name = request.url?.split('/')[2] ?? '';
  const faults = services[name]?.control;
  const reply = (status: number, body: object): unknown =>
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
  const body = Buffer.concat(await request.toArray()).toString();
  if (!faults) return void reply(404, { error: `nothing can be set for ${name}` });
  try {
    if (request.method === 'POST') faults.set(JSON.parse(body) as Input, state);
    if (request.method === 'DELETE') faults.reset(state);
    reply(200, faults.get(state));
  } catch (error) {
    reply(400, { error: (error as Error).message });
  }
}
