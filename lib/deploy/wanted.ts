import { EXIT, Failure } from '../failure.ts';
import { type ImageReference, imageText, isTag, parseImage } from './image-reference.ts';
import type { Wanted } from './strategy.ts';

/** What the command line names: exactly one of a version, images, and a commit. */
export interface Named {
  version?: string | undefined;
  images?: readonly string[] | undefined;
  commit?: string | undefined;
}

/** @throws Failure with exit 2 when it names nothing, too much, or something that is not the same tomorrow */
export function wantedOf({ version, images = [], commit }: Named, names: readonly ImageReference[]): Wanted {
  const given = [version, images[0], commit].filter((one) => one !== undefined);
  if (given.length !== 1)
    throw usage(
      given.length === 0
        ? 'nothing to deploy is named'
        : `${given.join(' and ')} cannot be deployed together`,
      'name one of: VERSION, --image REF, --commit SHA',
    );
  if (commit !== undefined) return { commit };
  if (version !== undefined) {
    if (!isTag(version))
      throw usage(`${version} cannot be the tag of an image`, 'name a version such as 1.4.0');
    refuseMoving(version, names[0]);
    return { version, images: names.map((name) => ({ ...name, tag: version })) };
  }
  const wanted = images.map((raw) => named(raw, names));
  const missing = names.filter((name) => !wanted.some((one) => sameName(one, name)));
  if (missing.length > 0)
    throw usage(
      `no --image for ${missing.map(imageText).join(', ')}, which IMAGE names`,
      'name one for each',
    );
  const [first] = wanted;
  return { version: first?.tag ?? first?.digest?.slice(7, 19) ?? '', images: wanted };
}

const usage = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });

const sameName = (a: ImageReference, b: ImageReference) =>
  a.registry === b.registry && a.repository === b.repository;

function named(raw: string, names: readonly ImageReference[]): ImageReference {
  let image: ImageReference;
  try {
    image = parseImage(raw);
  } catch (error) {
    throw usage(
      `--image ${raw}: ${(error as Error).message}`,
      'name it as repository:tag or repository@sha256:…',
    );
  }
  if (!names.some((name) => sameName(name, image)))
    throw usage(`--image ${raw} is none of IMAGE=${names.map(imageText).join(',')}`, 'correct one of them');
  if (image.digest === undefined) refuseMoving(image.tag, image);
  return image;
}

/** A tag that is moved with each build names no version: nothing could be rolled back to it. */
function refuseMoving(tag: string | undefined, image: ImageReference | undefined): void {
  if (tag !== undefined && tag !== 'latest') return;
  const name = image
    ? imageText({ registry: image.registry, repository: image.repository } as ImageReference)
    : '';
  throw usage(
    `${name}:${tag ?? 'latest'} is another image after each build, so that one could not go back to it`,
    `deploy a version, a commit, or a digest: ${name}@sha256:…`,
  );
}
