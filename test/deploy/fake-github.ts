import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';

/**
 * A fake of GitHub's API, as far as it is about releases: strict where GitHub is. What it is sent is checked against
 * GitHub's published schema, and a field that the schema does not know is refused. Its tags are those of a bare
 * repository. Prints its address; writes every request to --log.
 *
 * --fault forbidden: the token may only read. race: another run makes the release between the look and ours.
 */
const { values } = parseArgs({
  options: {
    repository: { type: 'string', default: '' },
    git: { type: 'string', default: '' },
    token: { type: 'string', default: '' },
    log: { type: 'string', default: '' },
    fault: { type: 'string', default: '' },
  },
});

const published = JSON.parse(readFileSync(join(import.meta.dirname, 'github-release.schema.json'), 'utf8'));
const schema = z.fromJSONSchema({ ...published, additionalProperties: false });
const releases = new Map<string, Record<string, unknown>>();
let address = '';

interface Answer {
  status: number;
  body: Record<string, unknown>;
}
const failed = (status: number, message: string, rest = {}): Answer => ({
  status,
  body: { message, documentation_url: 'https://docs.github.com/rest', ...rest },
});

const hasTag = (tag: string) =>
  execFileSync('git', ['--git-dir', values.git, 'tag', '--list', tag], { encoding: 'utf8' }).trim() === tag;

function refusal({ headers }: IncomingMessage): Answer | undefined {
  if (!headers['user-agent']) return failed(403, 'Request forbidden by administrative rules.');
  if (headers.authorization !== `Bearer ${values.token}`) return failed(401, 'Bad credentials');
  if (headers['x-github-api-version'] !== '2022-11-28') return failed(400, 'Unsupported API version');
  if (headers.accept !== 'application/vnd.github+json') return failed(415, 'Unsupported Media Type');
  return undefined;
}

function create(text: string): Answer {
  if (values.fault === 'forbidden') return failed(403, 'Resource not accessible by integration');
  const { success, data, error } = schema.safeParse(JSON.parse(text));
  if (!success)
    return failed(422, `Invalid request.\n\n${error.issues.map((issue) => issue.message).join()}`);
  const request = data as Record<string, unknown>;
  const tag = String(request.tag_name);
  const exists = releases.has(tag);
  if (!exists) {
    if (!hasTag(tag)) execFileSync('git', ['--git-dir', values.git, 'tag', tag]);
    releases.set(tag, { ...request, id: releases.size + 1, html_url: `${address}/releases/tag/${tag}` });
  }
  if (exists || values.fault === 'race')
    return failed(422, 'Validation Failed', {
      errors: [{ resource: 'Release', code: 'already_exists', field: 'tag_name' }],
    });
  return { status: 201, body: releases.get(tag) ?? {} };
}

function answer(request: IncomingMessage, text: string): Answer {
  const refused = refusal(request);
  if (refused) return refused;
  const prefix = `/repos/${values.repository}`;
  const path = decodeURIComponent(request.url ?? '');
  const route = path.startsWith(`${prefix}/`) ? `${request.method} ${path.slice(prefix.length)}` : '';
  if (route === 'POST /releases') return create(text);
  const [, tag = ''] = /^GET \/(?:releases|git\/ref)\/tags\/(.+)$/.exec(route) ?? [];
  const release = releases.get(tag);
  if (route.startsWith('GET /releases') && release) return { status: 200, body: release };
  if (route.startsWith('GET /git') && hasTag(tag)) return { status: 200, body: { ref: `refs/tags/${tag}` } };
  return failed(404, 'Not Found');
}

const server = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  appendFileSync(values.log, `${request.method} ${request.url} ${text}\n`);
  const { status, body } = answer(request, text);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
});
server.listen(0, '127.0.0.1', () => {
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.stdout.write(`${address}\n`);
});
