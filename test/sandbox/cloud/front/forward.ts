import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';

/** Passes a request on to moto and its answer back, both as they are. `body` is what was already read of it. */
export function forward(
  request: IncomingMessage,
  response: ServerResponse,
  motoPort: number,
  body?: Buffer,
): void {
  const onward = httpRequest({
    ...{ host: '127.0.0.1', port: motoPort, method: request.method ?? 'GET', path: request.url ?? '/' },
    headers: request.rawHeaders, // among them the Host, which the client has signed
    setDefaultHeaders: false,
  });
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
    answer.pipe(response);
  });
  onward.on('error', (error) => {
    if (!response.headersSent) response.writeHead(502);
    response.end(error.message);
  });
  response.on('close', () => onward.destroy());
  if (body) onward.end(body);
  else request.pipe(onward);
}

export interface Refusal {
  status: number;
  contentType: string;
  body: Buffer;
}

/**
 * Asks moto's IAM whether the caller may: it checks the signature of this very request, then the caller's policies for
 * its action on each of `resources`. @returns what the caller is to be told, when he may not
 */
export function refusal(
  request: IncomingMessage,
  motoPort: number,
  body: Buffer,
  resources: string[],
): Promise<Refusal | undefined> {
  return new Promise((resolve, reject) => {
    const ask = httpRequest({
      ...{ host: '127.0.0.1', port: motoPort, method: request.method ?? 'POST', path: request.url ?? '/' },
      headers: [...request.rawHeaders, 'X-Sandbox-Ask', JSON.stringify(resources)],
      setDefaultHeaders: false,
    });
    ask.on('error', reject);
    ask.on('response', async (answer) => {
      const chunks: Buffer[] = await answer.toArray();
      const said = Buffer.concat(chunks);
      if (answer.statusCode === 200 && said.toString() === 'allowed') return resolve(undefined);
      const contentType = request.headers['content-type'] ?? 'text/plain';
      resolve({ status: answer.statusCode ?? 500, contentType, body: said });
    });
    ask.end(body);
  });
}
