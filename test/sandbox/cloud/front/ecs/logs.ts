import type { IncomingMessage } from 'node:http';
import type { LogConfiguration } from '@aws-sdk/client-ecs';
import type { AwsError } from '../errors.ts';
import { askMoto } from '../inside.ts';
import { StartFailure } from './secrets.ts';

interface Line {
  timestamp: number;
  message: string;
}

const call = (name: string, input: object): Promise<object> =>
  askMoto('logs', `Logs_20140328.${name}`, input);

/** A log stream of CloudWatch that a container's output goes to. */
export interface LogStream {
  group: string;
  name: string;
}

/**
 * The stream of one container, made in its group; undefined where its output goes nowhere.
 * @throws StartFailure when the group is not there, and the task definition does not say to create it
 */
export async function openStream(
  log: LogConfiguration | undefined,
  container: string,
  task: string,
): Promise<LogStream | undefined> {
  if (log?.logDriver !== 'awslogs') return undefined;
  const options = log.options ?? {};
  const group = options['awslogs-group'] ?? '';
  const name = `${options['awslogs-stream-prefix'] ?? 'ecs'}/${container}/${task}`;
  if (options['awslogs-create-group'] === 'true')
    await call('CreateLogGroup', { logGroupName: group }).catch(() => {}); // it may be there
  try {
    await call('CreateLogStream', { logGroupName: group, logStreamName: name });
  } catch (error) {
    const { code, message } = error as AwsError;
    throw new StartFailure(
      `ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ${code}: ${message}`,
    );
  }
  return { group, name };
}

/** Writes what the engine sends of a container's output into its stream; ends with the container. */
export async function ship(output: IncomingMessage, { group, name }: LogStream): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  let text = '';
  for await (const chunk of output as AsyncIterable<Buffer>) {
    const read = demultiplex(Buffer.concat([rest, chunk]));
    rest = read.rest;
    const lines = (text + read.text).split('\n');
    text = lines.pop() ?? '';
    await put(group, name, lines);
  }
  if (text) await put(group, name, [text]);
}

/** The engine's frames: a header of eight bytes, the last four of them the length of what follows. */
function demultiplex(data: Buffer): { text: string; rest: Buffer } {
  let at = 0;
  let text = '';
  while (data.length - at >= 8 && data.length - at - 8 >= data.readUInt32BE(at + 4)) {
    const end = at + 8 + data.readUInt32BE(at + 4);
    text += data.toString('utf8', at + 8, end);
    at = end;
  }
  return { text, rest: data.subarray(at) };
}

/** @param lines each with the engine's time in front of it */
async function put(group: string, name: string, lines: string[]): Promise<void> {
  const logEvents = lines.filter(Boolean).map((line): Line => {
    const blank = line.indexOf(' ');
    return { timestamp: Date.parse(line.slice(0, blank)), message: line.slice(blank + 1) || ' ' };
  });
  if (logEvents.length === 0) return;
  await call('PutLogEvents', { logGroupName: group, logStreamName: name, logEvents });
}
