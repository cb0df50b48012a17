import { list, optionalSetting, setting } from '../../settings.ts';
import { type ImageReference, parseImage } from '../image-reference.ts';

/** The image of an app, for those who build it and those who deploy it. */
export const imageSettings = {
  IMAGE: setting('IMAGE', {
    about: "the app's image without its tag; several are separated by commas",
    example: '123456789012.dkr.ecr.us-east-1.amazonaws.com/spotter-app',
    type: list(parseName),
  }),
};

function parseName(raw: string): ImageReference {
  const image = parseImage(raw);
  if (image.tag !== undefined || image.digest !== undefined)
    throw new Error('has a tag or a digest: those are of each build');
  return image;
}

/** How images are built. */
export const buildSettings = {
  ...imageSettings,
  BUILD_CONTEXT: setting('BUILD_CONTEXT', {
    about: 'the directory that each of IMAGE is built in, in the same order; relative to the current one',
    example: 'backend,web',
    default: '.',
    type: list((raw) => raw),
  }),
  IMAGE_PLATFORM: optionalSetting('IMAGE_PLATFORM', {
    about: 'the platform that the target runs; else that of the Docker engine that builds',
    example: 'linux/arm64',
    type: (z) =>
      z.string().regex(/^linux\/(amd64|arm64|arm\/v7)$/, 'is none of linux/amd64, linux/arm64, linux/arm/v7'),
  }),
};
