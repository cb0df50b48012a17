import { setTimeout as sleep } from 'node:timers/promises';
import {
  GetCommandInvocationCommand,
  ListCommandInvocationsCommand,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm';

const POLL_MS = 10;
const sending = { DocumentName: 'AWS-RunShellScript', TimeoutSeconds: 60 };

/** Delivery and run time of a command by themselves: asked for without a pause, which AWS would not allow. */
export async function rawOne(client: SSMClient, instance: string, line: string): Promise<void> {
  const { Command } = await client.send(
    new SendCommandCommand({ ...sending, InstanceIds: [instance], Parameters: { commands: [line] } }),
  );
  const ask = { CommandId: Command?.CommandId, InstanceId: instance };
  for (;;) {
    const found = await client.send(new GetCommandInvocationCommand(ask)).catch(() => undefined);
    if (found?.Status === 'Success') return;
    await sleep(POLL_MS);
  }
}

/** The same on many, with one question for all of them. */
export async function rawMany(client: SSMClient, instances: readonly string[], line: string): Promise<void> {
  const { Command } = await client.send(
    new SendCommandCommand({ ...sending, InstanceIds: [...instances], Parameters: { commands: [line] } }),
  );
  for (;;) {
    const found = await client.send(
      new ListCommandInvocationsCommand({ CommandId: Command?.CommandId, MaxResults: 50 }),
    );
    if (found.CommandInvocations?.filter(({ Status }) => Status === 'Success').length === instances.length)
      return;
    await sleep(POLL_MS);
  }
}
