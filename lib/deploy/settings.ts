import type { z as Z } from 'zod';
import { appCommandSettings } from '../app-commands.ts';
import { composeSettings } from '../compose.ts';
import { healthUrlSettings } from '../health.ts';
import { opsbookSettings } from '../host-opsbook.ts';
import { flag, option } from '../script.ts';
import { list, optionalSetting, setting, type Values } from '../settings.ts';
import { targetSettings } from '../target.ts';
import { imageSettings } from './image/settings.ts';

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
          'is no ARN of a target group',
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
  'how long ECS may take for the switch, where it is not to follow from its drain and grace periods',
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
