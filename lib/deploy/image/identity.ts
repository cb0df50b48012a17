import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { type ImageReference, isTag } from '../image-reference.ts';
import { answer, changedFiles, git } from '../release/git.ts';

/** What an image is built from, and is called after. */
export interface Identity {
  commit: string;
  /** When the commit was made, ISO 8601: the same commit says the same, whenever it is built. */
  created: string;
  version?: string;
  /** Built from files that are not committed. */
  dirty: boolean;
  /** The version, where there is one, and last the commit. Never `latest`: a tag that moves tells nobody what runs. */
  tags: readonly [string, ...string[]];
}

/** Digits of a commit in a tag. */
const DIGITS = 12;

/**
 * The version that is named, or else the tag of the commit, and the commit. What is built from files that are not
 * committed says so in each tag.
 * @throws Failure when there are such files and nobody allowed that
 */
export async function identify(
  host: Host,
  named: string | undefined,
  allowDirty: boolean,
): Promise<Identity> {
  const commit = (await host.run(git('rev-parse', 'HEAD'))).trim();
  const created = (await host.run(git('show', '--no-patch', '--format=%cI', 'HEAD'))).trim();
  const dirty = (await changedFiles(host)).map((line) => line.slice(3));
  if (dirty.length > 0 && !allowDirty)
    throw new Failure(`not committed: ${dirty.slice(0, 3).join(', ')}${dirty.length > 3 ? ' …' : ''}`, {
      next: 'commit it; to build an image to try out: --allow-dirty',
    });
  const version = (named ?? (await exactTag(host)))?.replace(/^v(?=\d)/, '');
  if (version === 'latest' || (version !== undefined && !isTag(version)))
    throw new Failure(`${version} cannot be the version of an image`, {
      exit: EXIT.usage,
      next: 'name one such as 1.2.0',
    });
  const suffix = dirty.length > 0 ? '-dirty' : '';
  const byCommit = `${commit.slice(0, DIGITS)}${suffix}`;
  const of = { commit, created, dirty: dirty.length > 0 };
  return version === undefined
    ? { ...of, tags: [byCommit] }
    : { ...of, version, tags: [`${version}${suffix}`, byCommit] };
}

/** The tag of a version at HEAD, the newest if there are several. */
async function exactTag(host: Host): Promise<string | undefined> {
  const tags = await answer(
    host,
    'tag',
    '--points-at',
    'HEAD',
    '--sort=-version:refname',
    '--list',
    'v[0-9]*',
  );
  return tags?.split('\n')[0] || undefined;
}

/** What is built: an image by its name, and the directory with its Dockerfile. */
export interface Build {
  image: ImageReference;
  context: string;
}

/** Pairs IMAGE with BUILD_CONTEXT. @throws Failure when they are not as many */
export function pairs(images: readonly ImageReference[], contexts: readonly string[]): Build[] {
  if (images.length !== contexts.length)
    throw new Failure(`IMAGE names ${images.length}, BUILD_CONTEXT ${contexts.length}`, {
      exit: EXIT.usage,
      next: 'give each of IMAGE its directory, in the same order',
    });
  return images.map((image, i) => ({ image, context: contexts[i] ?? '.' }));
}
