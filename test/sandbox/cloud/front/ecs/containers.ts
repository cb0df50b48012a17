import type { ContainerDefinition, HealthCheck } from '@aws-sdk/client-ecs';
import { registry } from '../ecr/address.ts';
import { engineAuth } from '../ecr/token.ts';
import { engine, engineJson } from '../engine.ts';
import type { State } from '../state.ts';
import { StartFailure, secretValue } from './secrets.ts';
import type { Task } from './state.ts';

const sandbox = process.env.SANDBOX_PREFIX ?? 'opsbook';
/** By it the front knows its tasks' containers, also those of a front that is gone. */
const taskLabel = 'opsbook.task';

/** A container as the engine tells of it now. */
export interface Seen {
  State: { Running: boolean; ExitCode: number; OOMKilled: boolean; Health?: { Status: string } };
  NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
  Image: string;
}

const nanoseconds = (seconds: number, secondMs: number): number => Math.round(seconds * secondMs * 1e6);

/** ECS knows no other check than that of the task definition: the image's own is switched off. */
function healthcheck(check: HealthCheck | undefined, secondMs: number): object {
  if (!check?.command) return { Test: ['NONE'] };
  const { command, interval = 30, timeout = 5, retries = 3, startPeriod = 0 } = check;
  return {
    Test: command,
    Interval: nanoseconds(interval, secondMs),
    Timeout: nanoseconds(timeout, Math.max(secondMs, 1000)),
    StartPeriod: nanoseconds(startPeriod, secondMs),
    Retries: retries,
  };
}

async function environment(task: Task, definition: ContainerDefinition): Promise<string[]> {
  const override = task.overrides?.containerOverrides?.find(({ name }) => name === definition.name);
  const plain = [...(definition.environment ?? []), ...(override?.environment ?? [])];
  const secrets = await Promise.all(
    (definition.secrets ?? []).map(async (one) => `${one.name}=${await secretValue(one)}`),
  );
  return [...plain.map(({ name, value }) => `${name}=${value}`), ...secrets];
}

/** @throws StartFailure with what the engine says */
export async function pull(image: string, state: State): Promise<void> {
  const ecr = await registry();
  const auth = image.startsWith(`${ecr}/`) ? engineAuth(ecr, state) : undefined;
  const path = `/images/create?fromImage=${encodeURIComponent(image)}`;
  const answer = await engine('POST', path, undefined, auth);
  const said = Buffer.concat(await answer.toArray()).toString();
  const [, error = answer.statusCode === 200 ? '' : said.trim()] =
    /"error":"((?:[^"\\]|\\.)*)"/.exec(said) ?? [];
  if (error)
    throw new StartFailure(
      `CannotPullContainerError: pull image manifest has been retried 1 time(s): ${error}`,
    );
}

/**
 * A container of a task, not started yet. Containers of one task share one network, as in awsvpc mode.
 * @returns its id
 */
export async function create(
  task: Task,
  definition: ContainerDefinition,
  sharing: string | undefined,
  secondMs: number,
): Promise<string> {
  const override = task.overrides?.containerOverrides?.find(({ name }) => name === definition.name);
  const body = {
    Image: definition.image,
    Env: await environment(task, definition),
    Cmd: override?.command ?? definition.command,
    Entrypoint: definition.entryPoint,
    User: definition.user,
    WorkingDir: definition.workingDirectory,
    Labels: { 'opsbook.sandbox': sandbox, [taskLabel]: task.id },
    Healthcheck: healthcheck(definition.healthCheck, secondMs),
    HostConfig: {
      NetworkMode: sharing ? `container:${sharing}` : sandbox,
      Init: definition.linuxParameters?.initProcessEnabled ?? false,
      ReadonlyRootfs: definition.readonlyRootFilesystem ?? false,
    },
  };
  const name = `${sandbox}-task-${task.id.slice(0, 12)}-${definition.name}`;
  const { Id } = await engineJson<{ Id: string }>('POST', `/containers/create?name=${name}`, body);
  return Id;
}

/** @throws StartFailure as a task stops whose command cannot be started */
export async function start(id: string): Promise<void> {
  try {
    await engineJson('POST', `/containers/${id}/start`);
  } catch (error) {
    throw new StartFailure(`CannotStartContainerError: ${(error as Error).message}`);
  }
}

export const look = (id: string): Promise<Seen> => engineJson<Seen>('GET', `/containers/${id}/json`);

export const follow = (id: string) =>
  engine('GET', `/containers/${id}/logs?follow=1&stdout=1&stderr=1&timestamps=1`);

/** SIGTERM, and SIGKILL to what still runs after `seconds`. */
export const stop = (id: string, seconds: number): Promise<unknown> =>
  engineJson('POST', `/containers/${id}/stop?t=${seconds}`).catch(() => {}); // it had ended, or is gone

export const remove = (id: string): Promise<unknown> =>
  engineJson('DELETE', `/containers/${id}?force=1&v=1`).catch(() => {}); // it is gone

/** Tasks of a front that ended before them: nobody would ever stop them. */
export async function removeStrays(): Promise<void> {
  const filters = JSON.stringify({ label: [`opsbook.sandbox=${sandbox}`, taskLabel] });
  const strays = await engineJson<{ Id: string }[]>(
    'GET',
    `/containers/json?all=1&filters=${encodeURIComponent(filters)}`,
  );
  await Promise.all(strays.map(({ Id }) => remove(Id)));
}
