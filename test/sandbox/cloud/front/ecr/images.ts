import { request as httpRequest } from 'node:http';
import { AwsError } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { registry } from './address.ts';
import { byTag } from './gate.ts';
import type { Image, Repository } from './state.ts';
import { newToken } from './token.ts';

interface ImageId {
  imageDigest?: string;
  imageTag?: string;
}

interface Input {
  repositoryName?: string;
  imageIds?: ImageId[];
  filter?: { tagStatus?: 'TAGGED' | 'UNTAGGED' | 'ANY' };
  layerDigest?: string;
}

function repository({ repositoryName = '' }: Input, { ecr, account }: State): Repository {
  const found = ecr.repositories.get(repositoryName);
  if (found) return found;
  const text = `The repository with name '${repositoryName}' does not exist in the registry with id '${account}'`;
  throw new AwsError('RepositoryNotFoundException', text);
}

const resources = (input: Input, { region, account }: State): string[] => [
  `arn:aws:ecr:${region}:${account}:repository/${input.repositoryName ?? ''}`,
];

function find(where: Repository, { imageDigest, imageTag }: ImageId): Image | undefined {
  const found = imageDigest ? where.images.get(imageDigest) : byTag(where, imageTag ?? '');
  return imageTag && !found?.tags.has(imageTag) ? undefined : found;
}

const notFound = (where: Repository, { imageDigest, imageTag }: ImageId, { account }: State): string =>
  `The image with imageId {imageDigest:'${imageDigest ?? null}', imageTag:'${imageTag ?? null}'} does not exist within the repository with name '${where.name}' in the registry with id '${account}'`;

/** The images of a repository that a call is about: those named, or all that pass its filter. */
function chosen(input: Input, state: State): Image[] {
  const where = repository(input, state);
  if (!input.imageIds) {
    const status = input.filter?.tagStatus ?? 'ANY';
    return [...where.images.values()].filter(
      ({ tags }) => status === 'ANY' || tags.size > 0 === (status === 'TAGGED'),
    );
  }
  return input.imageIds.map((id) => {
    const found = find(where, id);
    if (!found) throw new AwsError('ImageNotFoundException', notFound(where, id, state));
    return found;
  });
}

function size({ manifest }: Image): number {
  const { config, layers = [] } = JSON.parse(manifest) as {
    config?: { size: number };
    layers?: { size: number }[];
  };
  return layers.reduce((total, layer) => total + layer.size, config?.size ?? 0);
}

export const describeImages: Operation = {
  resources,
  run: (input: Input, state) => ({
    imageDetails: chosen(input, state).map((image) => ({
      registryId: state.account,
      repositoryName: input.repositoryName,
      imageDigest: image.digest,
      ...(image.tags.size > 0 ? { imageTags: [...image.tags] } : {}),
      imageSizeInBytes: size(image),
      imagePushedAt: image.pushed.getTime() / 1000,
      imageManifestMediaType: image.mediaType,
    })),
  }),
};

export const listImages: Operation = {
  resources,
  run: ({ imageIds: _, ...input }: Input, state) => ({
    imageIds: chosen(input, state).flatMap(({ digest, tags }) =>
      tags.size > 0
        ? [...tags].map((imageTag) => ({ imageDigest: digest, imageTag }))
        : [{ imageDigest: digest }],
    ),
  }),
};

export const batchGetImage: Operation = {
  resources,
  run(input: Input, state) {
    const where = repository(input, state);
    const found = (input.imageIds ?? []).map((imageId) => ({ imageId, image: find(where, imageId) }));
    return {
      images: found.flatMap(({ imageId, image }) =>
        image
          ? {
              registryId: state.account,
              repositoryName: where.name,
              imageId: { ...imageId, imageDigest: image.digest },
              imageManifest: image.manifest,
              imageManifestMediaType: image.mediaType,
            }
          : [],
      ),
      failures: found
        .filter(({ image }) => !image)
        .map(({ imageId }) => ({
          imageId,
          failureCode: 'ImageNotFound',
          failureReason: 'Requested image not found',
        })),
    };
  },
};

/** Takes a tag off, or an image away with all its tags; an image whose last tag goes, goes. */
export const batchDeleteImage: Operation = {
  resources,
  async run(input: Input, state) {
    const where = repository(input, state);
    const found = (input.imageIds ?? []).map((imageId) => ({ imageId, image: find(where, imageId) }));
    for (const { imageId, image } of found) {
      if (imageId.imageTag) image?.tags.delete(imageId.imageTag);
      if (!image || (imageId.imageTag && image.tags.size > 0)) continue;
      where.images.delete(image.digest);
      await remove(where.name, image.digest);
    }
    return {
      imageIds: found.flatMap(({ imageId, image }) =>
        image ? { ...imageId, imageDigest: image.digest } : [],
      ),
      failures: found
        .filter(({ image }) => !image)
        .map(({ imageId }) => ({
          imageId,
          failureCode: 'ImageNotFound',
          failureReason: 'Requested image not found',
        })),
    };
  },
};

function remove(name: string, digest: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = httpRequest(`http://127.0.0.1:5002/v2/${name}/manifests/${digest}`, { method: 'DELETE' });
    call.on('error', reject);
    call.on('response', (answer) => answer.resume().on('end', resolve));
    call.end();
  });
}

/** A link by which a layer, or the configuration of an image, can be fetched without signing in. */
export const getDownloadUrlForLayer: Operation = {
  resources,
  async run(input: Input, state) {
    const { name } = repository(input, state);
    const token = encodeURIComponent(newToken(state).password);
    const downloadUrl = `http://${await registry()}/v2/${name}/blobs/${input.layerDigest}?X-Sandbox-Token=${token}`;
    return { downloadUrl, layerDigest: input.layerDigest };
  },
};
