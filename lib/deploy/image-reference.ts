/** The name of an image: `registry/repository:tag@digest`, of which only the repository has to be there. */
export interface ImageReference {
  /** Host, and port where there is one; absent for Docker Hub. */
  readonly registry?: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

// The grammar of github.com/distribution/reference.
const HOST = /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]|\[[0-9a-fA-F:]+\])(?::\d+)?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** @throws Error that says which of its parts is wrong */
export function parseImage(raw: string): ImageReference {
  const [beforeDigest = '', digest, ...more] = raw.split('@');
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest)))
    throw new Error('has a digest that is not sha256: and 64 hexadecimal digits');
  // A colon before the last slash is that of a port.
  const [, name = beforeDigest, tag] = /^(.*):([^/]*)$/.exec(beforeDigest) ?? [];
  if (tag !== undefined && !isTag(tag)) throw new Error(`has a tag that no image can have: "${tag}"`);
  const [first = '', ...rest] = name.split('/');
  // Docker's own rule for what is a registry, and what the name of an account on Docker Hub.
  const isHost =
    rest.length > 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const repository = isHost ? rest.join('/') : name;
  if ((isHost && !HOST.test(first)) || !REPOSITORY.test(repository))
    throw new Error('is not the name of an image: registry/repository:tag, in lower case');
  return {
    ...(isHost ? { registry: first } : {}),
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** What {@link parseImage} read. */
export function imageText({ registry, repository, tag, digest }: ImageReference): string {
  const name = registry === undefined ? repository : `${registry}/${repository}`;
  return `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** Whether a registry takes it as a tag: no `+`, which a semantic version may have. */
export const isTag = (text: string): boolean => TAG.test(text);

/** The account and region of a registry of ECR, by its name; undefined for any other. */
export function ecrOf({ registry = '' }: ImageReference): { account: string; region: string } | undefined {
  const [, account, region] =
    /^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$/.exec(registry) ??
    [];
  return account === undefined || region === undefined ? undefined : { account, region };
}
