import { AwsError, invalid } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { commandJson, invocationJson, listedJson } from './describe.ts';
import type { Command, Invocation } from './state.ts';

interface Paged {
  MaxResults?: number;
  NextToken?: string;
}

interface ListInput extends Paged {
  CommandId?: string;
  InstanceId?: string;
  Filters?: { key: string; value: string }[];
  Details?: boolean;
}

/** One page of `all`; the token is where the next one starts. */
export function page<T>(all: T[], { MaxResults = 50, NextToken }: Paged): { items: T[]; NextToken?: string } {
  if (MaxResults < 1 || MaxResults > 50)
    throw invalid('maxResults', MaxResults, 'Member must have value less than or equal to 50');
  const start = NextToken === undefined ? 0 : Number(Buffer.from(NextToken, 'base64').toString());
  if (!Number.isInteger(start)) throw new AwsError('InvalidNextToken', 'The specified token is not valid.');
  const end = start + MaxResults;
  const token = end < all.length ? { NextToken: Buffer.from(String(end)).toString('base64') } : {};
  return { items: all.slice(start, end), ...token };
}

/** The newest first, as AWS lists them. */
function commands({ CommandId, InstanceId, Filters = [] }: ListInput, { ssm }: State): Command[] {
  const fits = (command: Command, { key, value }: { key: string; value: string }): boolean => {
    if (key === 'Status') return command.status === value || command.details === value;
    if (key === 'DocumentName') return command.documentName === value;
    if (key === 'InvokedAfter') return command.requested >= new Date(value);
    if (key === 'InvokedBefore') return command.requested <= new Date(value);
    throw new AwsError('InvalidFilterKey', `The filter key ${key} is not valid.`);
  };
  if (CommandId !== undefined && !ssm.commands.has(CommandId))
    throw new AwsError('InvalidCommandId', `The command ID ${CommandId} was not found.`);
  return [...ssm.commands.values()]
    .filter(({ id }) => CommandId === undefined || id === CommandId)
    .filter(
      ({ invocations }) => !InstanceId || invocations.some(({ instanceId }) => instanceId === InstanceId),
    )
    .filter((command) => Filters.every((filter) => fits(command, filter)))
    .reverse();
}

export const listCommands: Operation = {
  run(input: ListInput, state) {
    const { items, ...token } = page(commands(input, state), input);
    return { Commands: items.map(commandJson), ...token };
  },
};

const isVisible = ({ requested }: Invocation, { ssm }: State): boolean =>
  Date.now() - requested.getTime() >= ssm.faults.invisibleMs;

export const listCommandInvocations: Operation = {
  run(input: ListInput, state) {
    const all = commands(input, state).flatMap((command) =>
      command.invocations
        .filter((one) => isVisible(one, state) && (!input.InstanceId || one.instanceId === input.InstanceId))
        .map((one) => listedJson(command, one, input.Details ?? false)),
    );
    const { items, ...token } = page(all, input);
    return { CommandInvocations: items, ...token };
  },
};

export const getCommandInvocation: Operation = {
  run({ CommandId = '', InstanceId = '', PluginName }: ListInput & { PluginName?: string }, state) {
    if (!/^[\w-]{36}$/.test(CommandId)) throw invalid('commandId', CommandId, 'Member must have length 36');
    if (PluginName !== undefined && PluginName !== 'aws:runShellScript')
      throw new AwsError('InvalidPluginName', 'The plugin name is not valid.');
    const command = state.ssm.commands.get(CommandId);
    const found = command?.invocations.find(({ instanceId }) => instanceId === InstanceId);
    // The message is empty, as AWS sends it.
    if (!command || !found || !isVisible(found, state)) throw new AwsError('InvocationDoesNotExist', '');
    return invocationJson(command, found);
  },
};

export const cancelCommand: Operation = {
  run({ CommandId = '', InstanceIds = [] }: { CommandId?: string; InstanceIds?: string[] }, { ssm }) {
    const command = ssm.commands.get(CommandId);
    if (!command) throw new AwsError('InvalidCommandId', `The command ID ${CommandId} was not found.`);
    const chosen = command.invocations.filter(
      ({ instanceId }) => InstanceIds.length === 0 || InstanceIds.includes(instanceId),
    );
    const waiting = chosen.filter(({ status }) => status === 'Pending' || status === 'InProgress');
    if (waiting.length > 0 && InstanceIds.length === 0)
      Object.assign(command, { status: 'Cancelling', details: 'Cancelling' });
    for (const one of waiting) {
      Object.assign(one, { status: 'Cancelling', details: 'Cancelling' });
      one.cancel.abort();
    }
    return {};
  },
};
