import { type EcrState, newEcrState } from './ecr/state.ts';
import { type EcsState, newEcsState } from './ecs/state.ts';
import { type ElbState, newElbState } from './elbv2/state.ts';
import { newSsmState, type SsmState } from './ssm/state.ts';

/** What the front remembers, in its memory: it lives as long as moto's data, in the same container. */
export interface State {
  region: string;
  account: string;
  ecs: EcsState;
  elb: ElbState;
  ssm: SsmState;
  ecr: EcrState;
}

export const newState = (): State => ({
  region: process.env.AWS_DEFAULT_REGION ?? 'us-east-1',
  account: '123456789012', // moto's
  ecs: newEcsState(),
  elb: newElbState(),
  ssm: newSsmState(),
  ecr: newEcrState(),
});
