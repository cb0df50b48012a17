import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { instances } from '../instances.ts';
import type { State } from '../state.ts';
import type { Group, Target } from './state.ts';

const TICK_MS = 50;

/** Where a target is; undefined for an instance that does not run. One that answered is where it was. */
async function addressOf({ config }: Group, { id, address, passed }: Target): Promise<string | undefined> {
  if (config.type !== 'instance') return id;
  if (passed > 0) return address;
  const instance = (await instances()).find((one) => one.id === id);
  return instance?.running ? instance.privateIp : undefined;
}

/** Checks a target's health again and again, as its group says, until it is taken out. */
export async function checkForever(state: State, group: Group, target: Target): Promise<void> {
  while (!target.gone.signal.aborted) {
    const started = Date.now();
    if (group.config.used) await checkOnce(group, target).catch((error) => console.error(error));
    const wait = () => group.config.check.intervalS * state.elb.faults.secondMs - (Date.now() - started);
    while (wait() > 0 && !target.gone.signal.aborted) await sleep(Math.min(TICK_MS, wait()));
  }
}

async function checkOnce(group: Group, target: Target): Promise<void> {
  const { path, port, timeoutS, matcher } = group.config.check;
  const host = await addressOf(group, target);
  target.address = host;
  if (host === undefined) {
    say(target, 'unused', 'Target.InvalidState', 'Target is in the stopped state');
    return;
  }
  const status = await statusOf(host, port === 'traffic-port' ? target.port : Number(port), path, timeoutS);
  if (target.gone.signal.aborted) return;
  const good = typeof status === 'number' && matches(status, matcher);
  target.passed = good ? target.passed + 1 : 0;
  target.failed = good ? 0 : target.failed + 1;
  // One good check is enough for a target that was just registered; afterwards the thresholds count.
  const needed = target.health === 'unhealthy' ? group.config.check.healthy : 1;
  if (good && target.passed >= needed) say(target, 'healthy', '', '');
  else if (!good && target.failed >= group.config.check.unhealthy) sayUnhealthy(target, status);
  else if (target.health === 'initial' || target.health === 'unused')
    say(target, 'initial', 'Elb.InitialHealthChecking', 'Initial health checks in progress');
}

function say(target: Target, health: Target['health'], reason: string, description: string): void {
  if (target.draining !== undefined) return;
  Object.assign(target, { health, reason, description });
}

function sayUnhealthy(target: Target, status: number | string): void {
  if (typeof status === 'number')
    say(
      target,
      'unhealthy',
      'Target.ResponseCodeMismatch',
      `Health checks failed with these codes: [${status}]`,
    );
  else if (status === 'timeout') say(target, 'unhealthy', 'Target.Timeout', 'Request timed out');
  else say(target, 'unhealthy', 'Target.FailedHealthChecks', 'Health checks failed');
}

/** The status that a target answers, or why there is none. */
function statusOf(host: string, port: number, path: string, timeoutS: number): Promise<number | string> {
  return new Promise((resolve) => {
    const headers = { 'User-Agent': 'ELB-HealthChecker/2.0', Connection: 'close' };
    const request = get({ host, port, path, headers, timeout: timeoutS * 1000, agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
      answer.on('error', () => resolve('failed'));
    });
    request.on('timeout', () => {
      resolve('timeout');
      request.destroy();
    });
    request.on('error', () => resolve('failed'));
  });
}

/** `200`, `200,302` or `200-299`. */
function matches(status: number, matcher: string): boolean {
  return matcher.split(',').some((part) => {
    const [from = 0, to = from] = part.split('-').map(Number);
    return status >= from && status <= to;
  });
}
