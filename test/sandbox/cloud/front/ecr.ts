import { registry } from './ecr/address.ts';
import {
  batchDeleteImage,
  batchGetImage,
  describeImages,
  getDownloadUrlForLayer,
  listImages,
} from './ecr/images.ts';
import { type EcrFaults, noFaults } from './ecr/state.ts';
import { newToken } from './ecr/token.ts';
import { changed } from './faults.ts';
import type { Operation, Service } from './service.ts';
import type { State } from './state.ts';

interface RepositoryJson {
  repositoryName: string;
  repositoryUri: string;
  imageTagMutability?: string;
}

const getAuthorizationToken: Operation = {
  async run(_input, state) {
    const { password, expires } = newToken(state);
    const authorizationToken = Buffer.from(`AWS:${password}`).toString('base64');
    const proxyEndpoint = `http://${await registry()}`;
    return {
      authorizationData: [{ authorizationToken, expiresAt: expires.getTime() / 1000, proxyEndpoint }],
    };
  },
};

/** moto's repository, at the address where ours is; the registry knows of it from now on. */
async function adopt(json: RepositoryJson, { ecr }: State): Promise<RepositoryJson> {
  const { repositoryName: name, imageTagMutability } = json;
  const repository = ecr.repositories.get(name) ?? { name, immutable: false, images: new Map() };
  repository.immutable = imageTagMutability === 'IMMUTABLE';
  ecr.repositories.set(name, repository);
  return { ...json, repositoryUri: `${await registry()}/${name}` };
}

const createRepository: Operation = {
  amend: async ({ repository }: { repository: RepositoryJson }, state) => ({
    repository: await adopt(repository, state),
  }),
};

const describeRepositories: Operation = {
  amend: async (answer: { repositories: RepositoryJson[] }, state) => ({
    ...answer,
    repositories: await Promise.all(answer.repositories.map((one) => adopt(one, state))),
  }),
};

const deleteRepository: Operation = {
  amend(answer: { repository: RepositoryJson }, { ecr }) {
    ecr.repositories.delete(answer.repository.repositoryName);
    return answer;
  },
};

const putImageTagMutability: Operation = {
  amend(answer: { repositoryName: string; imageTagMutability: string }, { ecr }) {
    const repository = ecr.repositories.get(answer.repositoryName);
    if (repository) repository.immutable = answer.imageTagMutability === 'IMMUTABLE';
    return answer;
  },
};

/** Repositories are moto's, with their policies; what is in them is in a real registry, behind a token. */
export const ecr: Service = {
  protocol: 'json-1.1',
  operations: {
    GetAuthorizationToken: getAuthorizationToken,
    CreateRepository: createRepository,
    DescribeRepositories: describeRepositories,
    DeleteRepository: deleteRepository,
    PutImageTagMutability: putImageTagMutability,
    DescribeImages: describeImages,
    ListImages: listImages,
    BatchGetImage: batchGetImage,
    BatchDeleteImage: batchDeleteImage,
    GetDownloadUrlForLayer: getDownloadUrlForLayer,
  },
  control: {
    get: ({ ecr }) => ecr.faults,
    set: (change, { ecr }) => {
      ecr.faults = changed<EcrFaults>(ecr.faults, change);
    },
    reset: ({ ecr }) => {
      ecr.faults = noFaults();
    },
  },
};
