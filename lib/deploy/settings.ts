import type { z as Z } from 'zod';
import { appCommandSettings, composeSettings, targetSettings } from '../app.ts';
import { flag, option } from '../definition.ts';
import { opsbookSettings } from '../host-opsbook.ts';
import { list, optionalSetting, setting, type Values } from '../settings.ts';
import { healthUrlSettings } from '../web.ts';

/** The name of an image: `registry/repository:tag@digest`, of which only the repository has to be there. */
export interface ImageReference {
  /** Host, and port where there is one; absent for Docker Hub. */
  readonly registry?: string | undefined;
  readonly repository: string;
  readonly tag?: string | undefined;
  readonly digest?: string | undefined;
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

/** On everything that validate-local makes; its value is the directory of the checkout. */
export const VALIDATION_LABEL = 'opsbook.validation';

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

const seconds = (from: number) => (z: typeof Z) =>
  z.coerce
    .number({ error: 'is not a number of seconds' })
    .min(from, `must be ${from} s or more`)
    .max(3600, 'must be an hour or less');

/** Where a version is seen from outside, and how long it has. */
export const healthSettings = {
  ...healthUrlSettings,
  HEALTH_TIMEOUT: setting('HEALTH_TIMEOUT', {
    about: 'how many seconds a new version may take until it is healthy',
    example: '120',
    default: '300',
    type: seconds(1),
  }),
  HEALTHY_FOR: setting('HEALTHY_FOR', {
    about: 'for how many seconds new containers have to stay healthy before they are trusted',
    example: '30',
    default: '10',
    type: seconds(0),
  }),
};

/** How an app is deployed. */
export const deploySettings = {
  ...targetSettings,
  ...composeSettings,
  ...imageSettings,
  ...healthSettings,
  ...appCommandSettings,
  ...opsbookSettings,
  MIGRATE_TIMEOUT: setting('MIGRATE_TIMEOUT', {
    about: 'how many seconds MIGRATE_COMMAND may take in a deployment',
    example: '1800',
    default: '900',
    type: seconds(1),
  }),
  TARGET_GROUP_ARN: optionalSetting('TARGET_GROUP_ARN', {
    about: "the load balancer's target group that the hosts are in: they are deployed to one by one",
    example: 'arn:aws:elasticloadbalancing:eu-south-2:123456789012:targetgroup/hermes/0123456789abcdef',
    type: (z) =>
      z
        .string()
        .regex(
          /^arn:[\w-]+:elasticloadbalancing:[\w-]+:\d{12}:targetgroup\/[\w-]+\/[\da-f]+$/,
          'is not the ARN of a target group',
        ),
  }),
  ROLLOUT_SERVICES: optionalSetting('ROLLOUT_SERVICES', {
    about: 'the compose services that change without a dropped request, separated by commas',
    example: 'web',
    type: list((name) => name),
  }),
  DRAIN_COMMAND: optionalSetting('DRAIN_COMMAND', {
    about:
      'what an old container runs before it is stopped, for proxies that go by its health check (Traefik)',
    example: 'touch /tmp/drain && sleep 10',
    type: (z) => z.string(),
  }),
};

/** How long a switch may take on ECS, in milliseconds. */
export const waitTimeoutFlag = option(
  '--wait-timeout <seconds>',
  'how long ECS may take for the switch (default: derived from drain and grace periods)',
  (raw) => {
    if (!/^\d{1,5}$/.test(raw)) throw new Error('is not a number of seconds');
    return Number(raw) * 1000;
  },
);

/** On hosts with Compose, the environment of what runs is what is meant. */
export const newEnvironmentFlag = flag(
  '--new-environment',
  'services may start with other variables than they run with: the env file was changed',
);

export type DeploySettings = Values<typeof deploySettings>;
