import type { Command, Invocation } from './state.ts';

const seconds = (date: Date): number => date.getTime() / 1000;
const output = { OutputS3BucketName: '', OutputS3KeyPrefix: '', OutputS3Region: '' };
const cloudWatch = { CloudWatchLogGroupName: '', CloudWatchOutputEnabled: false };
const ended = ({ status }: Invocation): boolean => !['Pending', 'InProgress', 'Cancelling'].includes(status);

/** ListCommandInvocations has less room than GetCommandInvocation. */
const PLUGIN_OUTPUT = 2_500;

/** When a command that nobody received is given up: both its times together. */
const expires = (command: Command): Date =>
  new Date(command.requested.getTime() + (command.deliveryTimeout + command.executionTimeout) * 1000);

/** A `Command` of the API. */
export function commandJson(command: Command): object {
  const count = (test: (one: Invocation) => boolean): number => command.invocations.filter(test).length;
  return {
    CommandId: command.id,
    DocumentName: command.documentName,
    DocumentVersion: '$DEFAULT',
    Comment: command.comment,
    ExpiresAfter: seconds(expires(command)),
    Parameters: command.parameters,
    InstanceIds: command.instanceIds,
    Targets: command.targets,
    RequestedDateTime: seconds(command.requested),
    Status: command.status,
    StatusDetails: command.details,
    ...output,
    MaxConcurrency: command.maxConcurrency,
    MaxErrors: command.maxErrors,
    TargetCount: command.invocations.length,
    CompletedCount: count(ended),
    ErrorCount: count(({ details }) => details === 'Failed' || details === 'ExecutionTimedOut'),
    DeliveryTimedOutCount: count(({ details }) => details === 'DeliveryTimedOut'),
    ServiceRole: '',
    NotificationConfig: { NotificationArn: '', NotificationEvents: [], NotificationType: '' },
    CloudWatchOutputConfig: cloudWatch,
    TimeoutSeconds: command.deliveryTimeout,
  };
}

/** What GetCommandInvocation answers: output only when all is over. */
export function invocationJson(command: Command, one: Invocation): object {
  const { started, ended: end } = one;
  const elapsed = started && end ? `PT${(end.getTime() - started.getTime()) / 1000}S` : '';
  return {
    CommandId: command.id,
    InstanceId: one.instanceId,
    Comment: command.comment,
    DocumentName: command.documentName,
    DocumentVersion: '$DEFAULT',
    PluginName: 'aws:runShellScript',
    ResponseCode: one.responseCode,
    ExecutionStartDateTime: started?.toISOString() ?? '',
    ExecutionElapsedTime: elapsed,
    ExecutionEndDateTime: started && end ? end.toISOString() : '',
    Status: one.status,
    StatusDetails: one.details,
    StandardOutputContent: ended(one) ? one.stdout : '',
    StandardOutputUrl: '',
    StandardErrorContent: ended(one) ? one.stderr : '',
    StandardErrorUrl: '',
    CloudWatchOutputConfig: cloudWatch,
  };
}

/** Both streams in one, as the agent joins them, cut to what there is room for. */
function pluginOutput({ stdout, stderr }: Invocation): string {
  const whole = stderr ? `${stdout}\n----------ERROR-------\n${stderr}` : stdout;
  const mark = '\n---Output truncated---';
  return whole.length < PLUGIN_OUTPUT ? whole : whole.slice(0, PLUGIN_OUTPUT - mark.length) + mark;
}

/** A `CommandInvocation` of ListCommandInvocations. */
export function listedJson(command: Command, one: Invocation, details: boolean): object {
  const plugin = {
    Name: 'aws:runShellScript',
    Status: one.status,
    StatusDetails: one.details,
    ResponseCode: one.responseCode,
    ...(one.started ? { ResponseStartDateTime: seconds(one.started) } : {}),
    ...(one.ended ? { ResponseFinishDateTime: seconds(one.ended) } : {}),
    Output: ended(one) ? pluginOutput(one) : '',
    StandardOutputUrl: '',
    StandardErrorUrl: '',
    ...output,
  };
  return {
    CommandId: command.id,
    InstanceId: one.instanceId,
    InstanceName: one.instanceName,
    Comment: command.comment,
    DocumentName: command.documentName,
    DocumentVersion: '$DEFAULT',
    RequestedDateTime: seconds(one.requested),
    Status: one.status,
    StatusDetails: one.details,
    StandardOutputUrl: '',
    StandardErrorUrl: '',
    CommandPlugins: details ? [plugin] : [],
    ServiceRole: '',
    NotificationConfig: { NotificationArn: '', NotificationEvents: [], NotificationType: '' },
    CloudWatchOutputConfig: cloudWatch,
  };
}
