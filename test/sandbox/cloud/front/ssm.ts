import { AwsError } from './errors.ts';
import { changed } from './faults.ts';
import type { Service } from './service.ts';
import { describeInstanceInformation } from './ssm/information.ts';
import { cancelCommand, getCommandInvocation, listCommandInvocations, listCommands } from './ssm/list.ts';
import { sendCommand } from './ssm/send.ts';
import { noFaults, type SsmFaults } from './ssm/state.ts';
import type { State } from './state.ts';

function throttle(operation: string, { ssm: { faults } }: State): void {
  const meant = faults.throttleOnly.length === 0 || faults.throttleOnly.includes(operation);
  if (!meant || faults.throttle === 0) return;
  faults.throttle -= 1;
  throw new AwsError('ThrottlingException', 'Rate exceeded');
}

/** Run Command and its nodes; Parameter Store and the rest of SSM are moto's. */
export const ssm: Service = {
  protocol: 'json-1.1',
  before: throttle,
  operations: {
    SendCommand: sendCommand,
    GetCommandInvocation: getCommandInvocation,
    ListCommands: listCommands,
    ListCommandInvocations: listCommandInvocations,
    CancelCommand: cancelCommand,
    DescribeInstanceInformation: describeInstanceInformation,
  },
  control: {
    get: ({ ssm }) => ssm.faults,
    set: (change, { ssm }) => {
      ssm.faults = changed<SsmFaults>(ssm.faults, change);
    },
    reset: ({ ssm }) => {
      ssm.faults = noFaults();
    },
  },
};
