import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../state.ts';
import { create, follow, look, pull, remove, type Seen, start, stop } from './containers.ts';
import { openStream, ship } from './logs.ts';
import { StartFailure } from './secrets.ts';
import type { Task } from './state.ts';
import { leave, register, targetFault } from './targets.ts';
import { definitionsOf, order } from './task.ts';

const LOOK_MS = 250;
/** Stopped tasks are told of for about so long. */
const KEPT_MS = 3_600_000;
const sandbox = process.env.SANDBOX_PREFIX ?? 'opsbook';

/** A task's containers by name. */
type Ids = Map<string, string>;

/** A task from its placement to its end, as ECS goes through it; what goes wrong is in its stoppedReason. */
export async function live(task: Task, state: State): Promise<void> {
  const ids: Ids = new Map();
  const logs: Promise<void>[] = [];
  try {
    if (!task.order) await launch(task, state, ids, logs);
    while (!task.order) {
      await sleep(LOOK_MS, undefined, { signal: task.stop.signal }).catch(() => {});
      await observe(task, state, ids);
    }
  } catch (error) {
    if (!(error instanceof StartFailure)) console.error(task.id, error);
    order(task, { reason: (error as Error).message, code: 'TaskFailedToStart' });
  }
  await end(task, state, ids, logs);
}

async function launch(task: Task, state: State, ids: Ids, logs: Promise<void>[]): Promise<void> {
  const { json } = task;
  const { secondMs } = state.ecs.faults;
  json.lastStatus = 'PENDING';
  json.pullStartedAt = new Date();
  const streams = await Promise.all(
    definitionsOf(task).map((one) => openStream(one.logConfiguration, one.name ?? '', task.id)),
  );
  for (const [at, definition] of definitionsOf(task).entries()) {
    await pull(definition.image ?? '', state);
    json.pullStoppedAt = new Date();
    const [first] = ids.values();
    const id = await create(task, definition, first, secondMs);
    ids.set(definition.name ?? '', id);
    await start(id);
    const stream = streams[at];
    if (stream)
      logs.push(
        follow(id)
          .then((output) => ship(output, stream))
          .catch((e) => console.error(e)),
      );
    Object.assign(json.containers![at]!, { runtimeId: id, lastStatus: 'RUNNING' });
    const seen = await look(id);
    json.containers![at]!.imageDigest = /@(sha256:.*)$/.exec(definition.image ?? '')?.[1] ?? seen.Image;
    task.address ??= seen.NetworkSettings.Networks[sandbox]?.IPAddress ?? '';
  }
  json.lastStatus = 'ACTIVATING';
  await register(task, state);
  json.lastStatus = 'RUNNING';
  json.startedAt = new Date();
  task.running = Date.now();
}

/** Looks once at the task's containers and target; orders its end where one of them demands it. */
async function observe(task: Task, state: State, ids: Ids): Promise<void> {
  for (const definition of definitionsOf(task)) {
    const name = definition.name ?? '';
    const id = ids.get(name);
    if (!id || task.order) continue;
    const seen = await look(id);
    if (definition.healthCheck) note(task, name, seen);
    if (seen.State.Running) continue;
    // ECS tells of a container's end at once, while its task is still being taken down.
    Object.assign(containerOf(task, name), { exitCode: seen.State.ExitCode, lastStatus: 'STOPPED' });
    if (definition.essential !== false)
      order(task, { reason: 'Essential container in task exited', code: 'EssentialContainerExited' });
  }
  task.json.healthStatus = healthOf(task);
  if (task.json.healthStatus === 'UNHEALTHY')
    order(task, { reason: 'Task failed container health checks', code: 'ServiceSchedulerInitiated' });
  const fault = targetFault(task, state);
  if (fault) order(task, { reason: fault, code: 'ServiceSchedulerInitiated' });
}

function healthOf(task: Task): 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN' {
  const checked = definitionsOf(task).filter(({ healthCheck }) => healthCheck);
  const health = checked.map(
    ({ name }) => task.json.containers?.find((one) => one.name === name)?.healthStatus,
  );
  if (health.includes('UNHEALTHY')) return 'UNHEALTHY';
  return health.length > 0 && health.every((one) => one === 'HEALTHY') ? 'HEALTHY' : 'UNKNOWN';
}

const containerOf = (task: Task, name: string) => task.json.containers!.find((one) => one.name === name)!;

function note(task: Task, name: string, { State: { Health } }: Seen): void {
  const healthStatus =
    Health?.Status === 'healthy' ? 'HEALTHY' : Health?.Status === 'unhealthy' ? 'UNHEALTHY' : 'UNKNOWN';
  containerOf(task, name).healthStatus = healthStatus;
}

/** Targets are drained before containers hear of the end; what then does not end in its stopTimeout is killed. */
async function end(task: Task, state: State, ids: Ids, logs: Promise<void>[]): Promise<void> {
  const { json } = task;
  Object.assign(json, { stoppedReason: task.order!.reason, stopCode: task.order!.code });
  json.lastStatus = 'DEACTIVATING';
  await leave(task, state);
  json.lastStatus = 'STOPPING';
  await Promise.all(
    definitionsOf(task).map(async (definition, at) => {
      const id = ids.get(definition.name ?? '');
      const container = json.containers![at]!;
      if (id) {
        await stop(id, Math.ceil(((definition.stopTimeout ?? 30) * state.ecs.faults.secondMs) / 1000));
        const { State: ended } = await look(id);
        if (container.lastStatus === 'RUNNING') container.exitCode = ended.ExitCode;
        if (ended.OOMKilled) container.reason = 'OutOfMemoryError: Container killed due to memory usage';
      }
      if (!id || container.exitCode === undefined) container.reason ??= json.stoppedReason!;
      container.lastStatus = 'STOPPED';
    }),
  );
  json.executionStoppedAt = new Date();
  json.lastStatus = 'DEPROVISIONING';
  await Promise.all(logs); // on AWS lines may still arrive after this
  await Promise.all([...ids.values()].map(remove));
  Object.assign(json, { lastStatus: 'STOPPED', stoppedAt: new Date() });
  setTimeout(() => state.ecs.tasks.delete(task.id), KEPT_MS).unref();
}
