import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AwsError } from './errors.ts';
import type { Input, Service } from './service.ts';

export interface Call {
  name: string;
  input: Input;
}

const isJson = ({ protocol }: Service): boolean => protocol.startsWith('json');

/** The operation that a request calls, and its parameters; undefined where it calls none that can be told. */
export function read(service: Service, request: IncomingMessage, body: Buffer): Call | undefined {
  if (isJson(service)) {
    const name = String(request.headers['x-amz-target'] ?? '')
      .split('.')
      .at(-1);
    return name ? { name, input: body.length > 0 ? JSON.parse(body.toString()) : {} } : undefined;
  }
  const form = Object.fromEntries(new URLSearchParams(body.toString()));
  return form.Action ? { name: form.Action, input: form } : undefined;
}

/** Writes an answer as the service's protocol has it. `result` is an object, or for the query protocols inner XML. */
export function answer(service: Service, { name }: Call, response: ServerResponse, result: unknown): void {
  const id = randomUUID();
  if (isJson(service)) {
    send(service, response, 200, id, JSON.stringify(result ?? {}));
    return;
  }
  const xmlns = ` xmlns="${service.xmlns}"`;
  const xml =
    service.protocol === 'ec2'
      ? `<${name}Response${xmlns}><requestId>${id}</requestId>${result}</${name}Response>`
      : `<${name}Response${xmlns}><${name}Result>${result}</${name}Result><ResponseMetadata><RequestId>${id}</RequestId></ResponseMetadata></${name}Response>`;
  send(service, response, 200, id, xml);
}

/** Writes an error as the service's protocol has it. */
export function fail(service: Service, response: ServerResponse, error: AwsError): void {
  const id = randomUUID();
  const { code, message, status } = error;
  if (isJson(service)) {
    response.setHeader('x-amzn-ErrorType', code);
    send(service, response, status, id, JSON.stringify({ __type: code, message }));
    return;
  }
  const inner = `<Code>${code}</Code><Message>${escapeXml(message)}</Message>`;
  const xml =
    service.protocol === 'ec2'
      ? `<Response><Errors><Error>${inner}</Error></Errors><RequestID>${id}</RequestID></Response>`
      : `<ErrorResponse xmlns="${service.xmlns}"><Error><Type>Sender</Type>${inner}</Error><RequestId>${id}</RequestId></ErrorResponse>`;
  send(service, response, status, id, xml);
}

function send(service: Service, response: ServerResponse, status: number, id: string, body: string): void {
  const type = isJson(service) ? `application/x-amz-${service.protocol}` : 'text/xml;charset=UTF-8';
  response.writeHead(status, { 'Content-Type': type, 'x-amzn-RequestId': id }).end(body);
}

/** Text as the content of an XML element. */
export const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
