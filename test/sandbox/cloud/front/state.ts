import { newSsmState, type SsmState } from './ssm/state.ts';

/** What the front remembers, in its memory: it lives as long as moto's data, in the same container. */
export interface State {
  region: string;
  account: string;
  ssm: SsmState;
}

export const newState = (): State => ({
  region: process.env.AWS_DEFAULT_REGION ?? 'us-east-1',
  account: '123456789012', // moto's
  ssm: newSsmState(),
});
