import { request as httpRequest, type IncomingMessage } from 'node:http';

const socketPath = '/run/engine.sock';
/** Old enough for Docker 20.10, new enough for 29. */
const version = 'v1.41';

/** One call of the API of the engine that the sandbox's containers run on; the body of its answer is not read yet. */
export function engine(
  method: string,
  path: string,
  body?: object,
  registryAuth?: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const payload = body && Buffer.from(JSON.stringify(body));
    const headers = {
      ...(payload && {
        'Content-Type': 'application/json',
        'Content-Length': payload.length,
      }),
      ...(registryAuth && { 'X-Registry-Auth': registryAuth }),
    };
    const call = httpRequest({ socketPath, method, path: `/${version}${path}`, headers, agent: false });
    call.on('error', reject);
    call.on('response', resolve);
    call.end(payload);
  });
}

/** The same for an answer in JSON. @throws Error with what the engine says, above status 399 */
export async function engineJson<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await engine(method, path, body);
  const text = Buffer.concat(await answer.toArray()).toString();
  if ((answer.statusCode ?? 500) >= 400) throw new Error(`engine: ${method} ${path}: ${text.trim()}`);
  return (text ? JSON.parse(text) : {}) as T;
}
