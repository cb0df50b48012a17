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

/** An answer of moto, read whole. */
export interface Said {
  status: number;
  contentType: string;
  body: Buffer;
}

/** The same request with more headers, answered to us and not to the caller. */
export function ask(
  request: IncomingMessage,
  motoPort: number,
  body: Buffer,
  headers: string[] = [],
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({
      ...{ host: '127.0.0.1', port: motoPort, method: request.method ?? 'POST', path: request.url ?? '/' },
      headers: [...request.rawHeaders, ...headers],
      setDefaultHeaders: false,
    });
    call.on('error', reject);
    call.on('response', (answer) => {
      const contentType = request.headers['content-type'] ?? 'text/plain';
      answer
        .toArray()
        .then((chunks: Buffer[]) =>
          resolve({ status: answer.statusCode ?? 500, contentType, body: Buffer.concat(chunks) }),
        )
        .catch(reject);
    });
    call.end(body);
  });
}

/** Tells the caller what moto said. */
export function relay(response: ServerResponse, { status, contentType, body }: Said): void {
  response.writeHead(status, { 'Content-Type': contentType }).end(body);
}

/**
 * Asks moto's IAM whether the caller may: it checks the signature of this very request, then the caller's policies for
 * its action on each of `resources`. @returns what the caller is to be told, when he may not
 */
export async function refusal(
  request: IncomingMessage,
  motoPort: number,
  body: Buffer,
  resources: string[],
): Promise<Said | undefined> {
  const said = await ask(request, motoPort, body, ['X-Sandbox-Ask', JSON.stringify(resources)]);
  return said.status === 200 && said.body.toString() === 'allowed' ? undefined : said;
}
