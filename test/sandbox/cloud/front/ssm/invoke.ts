import { setTimeout as sleep } from 'node:timers/promises';
import { type Instance, instances } from '../instances.ts';
import type { State } from '../state.ts';
import { KILLED, killScript, runScript, type Script } from './agent.ts';
import { isOnline } from './nodes.ts';
import type { Command, Invocation } from './state.ts';

const PROBE_MS = 200;

function end(invocation: Invocation, status: Invocation['status'], details: string, responseCode = -1): void {
  Object.assign(invocation, { status, details, responseCode, ended: new Date() });
}

/** A command on one node, from its delivery to its end; never throws. */
export async function invoke(
  command: Command,
  invocation: Invocation,
  node: Instance,
  state: State,
): Promise<void> {
  if (invocation.cancel.signal.aborted) return end(invocation, 'Cancelled', 'Cancelled');
  try {
    const reached = await deliver(command, invocation, node, state);
    if (reached) await execute(command, invocation, reached, state);
  } catch (error) {
    if (invocation.cancel.signal.aborted) return end(invocation, 'Cancelled', 'Cancelled');
    console.error(`${command.id} on ${node.id}:`, error);
    await outlast(command, invocation, state);
  }
}

/** Waits for the agent to fetch the command. @returns the node as it then is, or nothing when its time was over */
async function deliver(
  command: Command,
  invocation: Invocation,
  node: Instance,
  state: State,
): Promise<Instance | undefined> {
  const { faults } = state.ssm;
  const { signal } = invocation.cancel;
  const deadline = Date.now() + command.deliveryTimeout * faults.deliverySecondMs;
  await sleep(faults.deliveryMs, undefined, { signal });
  while (Date.now() < deadline) {
    const now = (await instances()).find(({ id }) => id === node.id);
    if (now && isOnline(now, state)) return now;
    await sleep(PROBE_MS, undefined, { signal });
  }
  end(invocation, 'TimedOut', 'DeliveryTimedOut');
  return undefined;
}

async function execute(
  command: Command,
  invocation: Invocation,
  node: Instance,
  state: State,
): Promise<void> {
  const { parameters } = command;
  const script: Script = {
    commandId: command.id,
    commands: parameters.commands ?? [],
    workingDirectory: parameters.workingDirectory?.[0] ?? '',
    region: state.region,
  };
  const { signal } = invocation.cancel;
  Object.assign(invocation, { status: 'InProgress', details: 'InProgress', started: new Date() });
  if (command.status === 'Pending') Object.assign(command, { status: 'InProgress', details: 'InProgress' });
  if (state.ssm.faults.silent.includes(node.id)) return await outlast(command, invocation, state);
  let late = false;
  const kill = (): void => void killScript(node, script).catch(() => undefined);
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, command.executionTimeout * 1000);
  signal.addEventListener('abort', kill);
  try {
    const { code, stdout, stderr } = await runScript(node, script);
    if (!(await outlives(node, code === KILLED && !late && !signal.aborted)))
      return await outlast(command, invocation, state);
    Object.assign(invocation, { stdout, stderr });
    if (signal.aborted) end(invocation, 'Cancelled', 'Cancelled', KILLED);
    else if (late || code === KILLED) end(invocation, 'TimedOut', 'ExecutionTimedOut', KILLED);
    else if (code === 0) end(invocation, 'Success', 'Success', 0);
    else end(invocation, 'Failed', 'Failed', code);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
  }
}

/** The engine says of the processes of a container that they were killed before it says that the container stopped. */
const STOP_SEEN_MS = 500;

/** Whether a node still runs after a script on it ended, which was killed by somebody other than us or not. */
async function outlives({ id }: Instance, killed: boolean): Promise<boolean> {
  const runs = async (): Promise<boolean> => (await instances()).some((one) => one.id === id && one.running);
  const deadline = Date.now() + (killed ? STOP_SEEN_MS : 0);
  while (await runs()) {
    if (Date.now() >= deadline) return true;
    await sleep(PROBE_MS);
  }
  return false;
}

/**
 * Nobody tells SSM how a command ended on a node that is gone: it stays in progress until both its times are over, and
 * is then said not to have been delivered ("ExpiresAfter" of the API).
 */
async function outlast(command: Command, invocation: Invocation, { ssm }: State): Promise<void> {
  const seconds = command.deliveryTimeout + command.executionTimeout;
  const over = command.requested.getTime() + seconds * ssm.faults.deliverySecondMs;
  const { signal } = invocation.cancel;
  await sleep(Math.max(0, over - Date.now()), undefined, { signal }).catch(() => undefined);
  if (signal.aborted) end(invocation, 'Cancelled', 'Cancelled');
  else end(invocation, 'TimedOut', 'DeliveryTimedOut');
}
