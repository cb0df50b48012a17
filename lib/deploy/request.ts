import { EXIT, Failure, messageOf } from '../failure.ts';
import type { DeployRequest } from './deployment.ts';
import { type ImageReference, imageText, isTag, parseImage } from './settings.ts';

/** What the command line names: exactly one of a version, images, and a commit. */
export interface Named {
  version?: string | undefined;
  images?: readonly string[] | undefined;
  commit?: string | undefined;
}

/**
 * What to deploy.
 * @param names the images of the app, without tags
 * @throws Failure with exit 2 when nothing is named, too much, or something that will not be the same tomorrow
 */
export function requestOf(
  { version, images = [], commit }: Named,
  names: readonly ImageReference[],
): DeployRequest {
  const given = [version, images[0], commit].filter((one) => one !== undefined);
  if (given.length !== 1)
    throw usage(
      given.length === 0
        ? 'nothing to deploy is named'
        : `${given.join(' and ')} cannot be deployed together`,
      'name one of: VERSION, --image REF, --commit SHA',
    );
  if (commit !== undefined) return { commit };
  if (version === undefined) return requestOfImages(images, names);
  if (!isTag(version))
    throw usage(`${version} cannot be the tag of an image`, 'name a version such as 1.4.0');
  for (const name of names) refuseMoving({ ...name, tag: version });
  return { version, images: names.map((name) => ({ ...name, tag: version })) };
}

function requestOfImages(raw: readonly string[], names: readonly ImageReference[]): DeployRequest {
  const images = raw.map((text) => imageOf(text, names));
  const missing = names.filter((name) => !images.some((image) => isSame(image, name)));
  if (missing.length > 0)
    throw usage(
      `no --image for ${missing.map(imageText).join(', ')}, which IMAGE names`,
      'name one for each',
    );
  const [first] = images;
  return { version: first?.tag ?? first?.digest?.slice(7, 19) ?? '', images };
}

const usage = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });

const isSame = (a: ImageReference, b: ImageReference) =>
  a.registry === b.registry && a.repository === b.repository;

function imageOf(raw: string, names: readonly ImageReference[]): ImageReference {
  let image: ImageReference;
  try {
    image = parseImage(raw);
  } catch (error) {
    throw usage(`--image ${raw}: ${messageOf(error)}`, 'name it as repository:tag or repository@sha256:…');
  }
  if (!names.some((name) => isSame(name, image)))
    throw usage(
      `--image ${raw} is not one of IMAGE=${names.map(imageText).join(',')}`,
      'correct one of them',
    );
  if (image.digest === undefined) refuseMoving(image);
  return image;
}

/** A tag that is moved with each build names no version: nothing could be rolled back to it. */
function refuseMoving({ tag = 'latest', ...image }: ImageReference): void {
  if (tag !== 'latest') return;
  const name = imageText(image);
  throw usage(
    `${name}:${tag} is another image after each build: there would be nothing to roll back to`,
    `deploy a version, a commit, or a digest: ${name}@sha256:…`,
  );
}
