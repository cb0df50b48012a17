import { randomUUID } from 'node:crypto';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { commandJson } from './describe.ts';
import { targetNodes } from './nodes.ts';
import { rollOut } from './rollout.ts';
import type { Command, Invocation } from './state.ts';
import { checkSend, type SendInput } from './validate.ts';

async function resources(input: SendInput, state: State): Promise<string[]> {
  checkSend(input);
  const nodes = await targetNodes(input, state);
  const instance = `arn:aws:ec2:${state.region}:${state.account}:instance`;
  const document = `arn:aws:ssm:${state.region}::document/AWS-RunShellScript`;
  return [document, ...nodes.map(({ id }) => `${instance}/${id}`)];
}

function newCommand(input: SendInput, invocations: Invocation[]): Command {
  return {
    id: randomUUID(),
    documentName: input.DocumentName ?? '',
    comment: input.Comment ?? '',
    parameters: input.Parameters ?? {},
    instanceIds: input.InstanceIds ?? [],
    targets: (input.Targets ?? []) as Command['targets'],
    requested: new Date(),
    deliveryTimeout: input.TimeoutSeconds ?? 3600,
    executionTimeout: Number(input.Parameters?.executionTimeout?.[0] ?? 3600),
    maxConcurrency: input.MaxConcurrency ?? '50',
    maxErrors: input.MaxErrors ?? '0',
    status: 'Pending',
    details: 'Pending',
    invocations,
  };
}

async function run(input: SendInput, state: State): Promise<object> {
  const nodes = await targetNodes(input, state);
  const invocations = nodes.map(
    ({ id, name }): Invocation => ({
      instanceId: id,
      instanceName: name,
      status: 'Pending',
      details: 'Pending',
      responseCode: -1,
      requested: new Date(),
      stdout: '',
      stderr: '',
      cancel: new AbortController(),
    }),
  );
  const command = newCommand(input, invocations);
  state.ssm.commands.set(command.id, command);
  const answer = { Command: commandJson(command) };
  void rollOut(command, nodes, state);
  return answer;
}

export const sendCommand: Operation = { resources, run };
