import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { forward } from '../forward.ts';
import type { State } from '../state.ts';
import type { Image, Repository } from './state.ts';
import { checkToken } from './token.ts';

/** An error of the registry protocol, in ECR's words. */
interface Refusal {
  status: number;
  code: string;
  message: string;
}

function refuse(response: ServerResponse, { status, code, message }: Refusal): void {
  if (status === 401)
    response.setHeader('WWW-Authenticate', 'Basic realm="https://ecr.sandbox/",service="ecr.amazonaws.com"');
  response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0');
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify({ errors: [{ code, message }] }));
}

/** The token of a request, in its header or, for a link to a layer, in its query. */
function tokenOf(request: IncomingMessage): string {
  const given = new URL(request.url ?? '/', 'http://registry').searchParams.get('X-Sandbox-Token');
  return request.headers.authorization ?? (given ? Buffer.from(`AWS:${given}`).toString('base64') : '');
}

function unauthorized(request: IncomingMessage, state: State): Refusal | undefined {
  const token = tokenOf(request);
  if (!token) return { status: 401, code: 'UNAUTHORIZED', message: 'authentication required' };
  const worth = checkToken(token, state);
  if (worth === 'good') return undefined;
  if (worth === 'unknown') return { status: 401, code: 'UNAUTHORIZED', message: 'Not Authorized' };
  const message = 'Your authorization token has expired. Reauthenticate and try again.';
  return { status: 403, code: 'DENIED', message };
}

/** What a request is about; nothing, where it only asks whether there is a registry. */
function target({
  url = '',
}: IncomingMessage): { name: string; kind: string; reference: string } | undefined {
  const found = /^\/v2\/(.+)\/(manifests|blobs|tags)\/([^?]*)/.exec(url);
  return found ? { name: found[1]!, kind: found[2]!, reference: found[3]! } : undefined;
}

function pushRefused(name: string, { region, account }: State): Refusal {
  const resource = `arn:aws:ecr:${region}:${account}:repository/${name}`;
  const message = `User is not authorized to perform: ecr:InitiateLayerUpload on resource: ${resource}`;
  return { status: 403, code: 'DENIED', message };
}

/** The image that bears a tag. */
export const byTag = ({ images }: Repository, tag: string): Image | undefined =>
  [...images.values()].find(({ tags }) => tags.has(tag));

/** Lets an engine with a good token through to the registry, into repositories that were created, and notes what it pushes. */
export function gate(request: IncomingMessage, response: ServerResponse, port: number, state: State): void {
  const refusal = unauthorized(request, state);
  const about = target(request);
  const repository = state.ecr.repositories.get(about?.name ?? '');
  if (refusal) refuse(response, refusal);
  else if (!about) forward(request, response, port);
  else if (!repository) {
    const message = `The repository with name '${about.name}' does not exist in the registry with id '${state.account}'`;
    refuse(response, { status: 404, code: 'NAME_UNKNOWN', message });
  } else if (state.ecr.faults.refusePush && !['GET', 'HEAD'].includes(request.method ?? ''))
    refuse(response, pushRefused(about.name, state));
  else if (about.kind === 'manifests') manifest(request, response, port, repository, about.reference);
  else forward(request, response, port);
}

function manifest(
  request: IncomingMessage,
  response: ServerResponse,
  port: number,
  repository: Repository,
  reference: string,
): void {
  if (request.method === 'PUT') void push(request, response, port, repository, reference);
  else if (repository.images.has(reference) || byTag(repository, reference)) forward(request, response, port);
  else refuse(response, { status: 404, code: 'MANIFEST_UNKNOWN', message: 'Requested image not found' });
}

async function push(
  request: IncomingMessage,
  response: ServerResponse,
  port: number,
  { name, images, immutable }: Repository,
  reference: string,
): Promise<void> {
  const body = Buffer.concat(await request.toArray());
  const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
  const tag = reference.startsWith('sha256:') ? undefined : reference;
  const before = [...images.values()].find(({ tags }) => tag !== undefined && tags.has(tag));
  if (immutable && before && before.digest !== digest) {
    const message = `The image tag '${tag}' already exists in the '${name}' repository and cannot be overwritten because the repository is immutable.`;
    return refuse(response, { status: 400, code: 'TAG_INVALID', message });
  }
  response.on('finish', () => {
    if (response.statusCode !== 201) return;
    const mediaType = request.headers['content-type'] ?? '';
    const image = images.get(digest) ?? {
      digest,
      mediaType,
      manifest: body.toString(),
      pushed: new Date(),
      tags: new Set(),
    };
    images.set(digest, image);
    if (tag === undefined) return;
    before?.tags.delete(tag);
    image.tags.add(tag);
  });
  forward(request, response, port, body);
}
