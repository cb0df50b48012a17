import type { Context } from '../definition.ts';
import { EXIT, Failure, messageOf } from '../failure.ts';
import type { Secret } from '../secret.ts';
import { tagOf } from './changelog.ts';
import { answer, git } from './git.ts';

/** The version of the REST API that this was written for. */
const API_VERSION = '2022-11-28';
const TIMEOUT_MS = 30_000;

const AGAIN = 'run it again: what exists stays as it is';
const RIGHTS = 'give GITHUB_TOKEN the right to write contents (permissions: contents: write)';

/** What GitHub says of a release. */
interface Release {
  html_url: string;
}

interface Repository {
  /** `owner/name` */
  name: string;
  api: string;
  token: Secret;
  signal: AbortSignal;
}

interface GithubSettings {
  GITHUB_TOKEN?: Secret | undefined;
  GITHUB_REPOSITORY?: string | undefined;
  GITHUB_API_URL: string;
}

/** The repository on GitHub, and the right to write to it. @throws Failure with exit 2 when one of them is missing */
export async function repositoryOf(
  { GITHUB_TOKEN: token, GITHUB_REPOSITORY: named, GITHUB_API_URL: api }: GithubSettings,
  { $, signal }: Pick<Context, '$' | 'signal'>,
): Promise<Repository> {
  if (!token)
    throw new Failure('GITHUB_TOKEN is not set', {
      exit: EXIT.usage,
      next: 'set it to a token that may write contents; in a workflow it is github.token, with permissions: contents: write',
    });
  const origin = async () => (await answer($`${git} config remote.origin.url`)) ?? '';
  const name = named ?? pageOf(await origin())?.replace(/^https:\/\/[^/]+\//, '');
  if (!name)
    throw new Failure('the remote origin is not on GitHub', {
      exit: EXIT.usage,
      next: 'set GITHUB_REPOSITORY=owner/name',
    });
  return { name, api: api.replace(/\/$/, ''), token, signal };
}

/** The page of a repository on GitHub, by the address of its remote; undefined for one elsewhere. */
export function pageOf(remoteUrl: string): string | undefined {
  const [, host, path] =
    /^(?:https?:\/\/(?:[^@/]*@)?|ssh:\/\/git@|git@)((?:[\w.-]+\.)?github\.[\w.-]+)(?::\d+)?[/:]([\w.-]+\/[\w.-]+?)(?:\.git)?\/?$/.exec(
      remoteUrl,
    ) ?? [];
  return host === undefined || path === undefined ? undefined : `https://${host}/${path}`;
}

/** The release of a version, when there is one. */
export async function findRelease(repository: Repository, version: string): Promise<Release | undefined> {
  const tag = encodeURIComponent(tagOf(version));
  const found = await ask(repository, 'GET', `/releases/tags/${tag}`);
  if (found.status === 200) return found.body as Release;
  if (found.status !== 404) throw refused(repository, found);
  // GitHub would make a tag of its own, of whatever is newest.
  const ref = await ask(repository, 'GET', `/git/ref/tags/${tag}`);
  if (ref.status === 404)
    throw new Failure(`${repository.name} has no tag ${tagOf(version)} on GitHub`, {
      next: `npx tsx scripts/deploy/release.ts ${version}, or correct GITHUB_REPOSITORY and the rights of GITHUB_TOKEN`,
    });
  if (ref.status !== 200) throw refused(repository, ref);
  return undefined;
}

/** What GitHub is asked for; docs.github.com/rest/releases/releases#create-a-release. */
export function releaseRequest(version: string, notes: string) {
  const prerelease = version.includes('-');
  return { tag_name: tagOf(version), name: version, body: notes, draft: false, prerelease };
}

/** Makes the release; one that another run made meanwhile is as good. */
export async function createRelease(
  repository: Repository,
  version: string,
  notes: string,
): Promise<Release> {
  const made = await ask(repository, 'POST', '/releases', releaseRequest(version, notes));
  if (made.status === 201) return made.body as Release;
  const { errors = [] } = made.body as { errors?: Array<{ code?: string }> };
  const existing =
    errors.some(({ code }) => code === 'already_exists') && (await findRelease(repository, version));
  if (existing) return existing;
  throw refused(repository, made);
}

interface Answer {
  status: number;
  body: unknown;
}

async function ask(
  { name, api, token, signal }: Repository,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  const url = `${api}/repos/${name}${path}`;
  try {
    const response = await fetch(url, {
      method,
      headers: {
        accept: 'application/vnd.github+json',
        authorization: `Bearer ${token.reveal()}`,
        'x-github-api-version': API_VERSION,
        'user-agent': 'opsbook',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    return { status: response.status, body: await response.json().catch(() => ({})) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = (error as Error).cause ?? error;
    throw new Failure(`${method} ${url}: ${messageOf(cause)}`, {
      next: AGAIN,
      cause,
    });
  }
}

function refused({ name }: Repository, { status, body }: Answer): Failure {
  const { message = '', errors = [] } = body as {
    message?: string;
    errors?: Array<{ field?: string; code?: string }>;
  };
  const details = errors.map(({ field, code }) => `${field} ${code}`).join(', ');
  const words = [message, details].filter(Boolean).join(': ');
  const next = { 401: 'correct GITHUB_TOKEN', 403: RIGHTS, 404: RIGHTS }[status] ?? AGAIN;
  return new Failure(`GitHub refused a release of ${name}: ${status} ${words}`.trimEnd(), { next });
}
