import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Command, CommandFailure, wordsOf } from '../../../lib/command.ts';
import { appOnHost } from '../../../lib/deploy/compose.ts';
import { namesOnce } from '../../../lib/deploy/compose-switch.ts';
import type { AppSettings, Environment, Release } from '../../../lib/deploy/deployment.ts';
import { parseImage } from '../../../lib/deploy/settings.ts';
import { localHost } from '../../../lib/hosts.ts';
import { tempDir } from '../kit.ts';

const release = (version: number): Release => ({
  version: `${version}.0.0`,
  images: { web: { reference: `shop/web:${version}`, id: `sha256:${version}` } },
});

/** A container as `docker inspect` prints it. */
const made = (Id: string, service: string, Image: string, hash = 'hash', status = 'healthy') => ({
  ...{ Id, Name: `/shop-${Id}`, Image, RestartCount: 0, HostConfig: { RestartPolicy: { Name: 'always' } } },
  State: {
    Status: status === 'exited' ? status : 'running',
    ExitCode: 0,
    Health: { Status: status, Log: [] },
  },
  Config: {
    Image: Image.replace('sha256:', 'shop/web:'),
    Labels: { 'com.docker.compose.service': service, 'com.docker.compose.config-hash': hash },
  },
});

interface Engine {
  /** Oldest first. */
  all: ReturnType<typeof made>[];
  /** What `up` makes now. */
  next?: { version: number; hash?: string; status?: string };
  /** What `nginx -T` prints; undefined where it names a service that is down, and nginx is not reloaded either. */
  nginx?: string | undefined;
  drainFails?: boolean;
  /** The commands that changed something. */
  did: string[];
}

/** A host with an engine that is only remembered; all that is not Docker's is done. */
function hostOf(engine: Engine) {
  let reloads = 0;
  const broken = (command: Command) => {
    const words = 'host not found in upstream "stopped"';
    return new CommandFailure({ command, words, code: 1, stderr: words });
  };
  /** What runs in a container: nginx, or the words that drain it. */
  function exec(command: Command): string {
    const text = command.text;
    if (text.includes('nginx -T') && engine.nginx !== undefined) return engine.nginx;
    const fails = text.endsWith('sh -c drain') ? engine.drainFails : engine.nginx === undefined;
    if (!text.includes('nginx -T')) engine.did.push(wordsOf(command).slice(1).join(' '));
    if (fails) throw broken(command);
    if (text.endsWith('reload')) reloads += 1;
    return '';
  }
  function up(count: number): void {
    if (count > 0) engine.did.push(`scale ${count}`);
    const { version = 0, hash, status } = engine.next ?? {};
    const webs = engine.all.filter(({ Config }) => Object.values(Config.Labels).includes('web')).length;
    for (let i = webs; i < count; i += 1)
      engine.all.push(made(`new${i}`, 'web', `sha256:${version}`, hash, status));
  }
  function docker(command: Command): string {
    const [, verb, ...args] = wordsOf(command);
    if (verb === 'exec') return exec(command);
    if (verb === 'top') return `${reloads} nginx: worker process\n`;
    if (verb === 'inspect') return JSON.stringify(engine.all.filter(({ Id }) => args.includes(Id)));
    if (verb === 'compose') {
      if (args.includes('config')) return JSON.stringify(MODEL);
      up(Number(/--scale web=(\d+)/.exec(args.join(' '))?.[1] ?? 0));
      return '';
    }
    engine.did.push([verb, ...args].join(' '));
    if (verb === 'rm') engine.all = engine.all.filter(({ Id }) => !args.includes(Id));
    return '';
  }
  const real = localHost();
  const run = async (command: Command, input?: string) => {
    const [program, , script = '', ...args] = wordsOf(command);
    if (program === 'docker') return docker(command);
    if (args[0] === 'probe') return '"x-opsbook"';
    if (script.startsWith('docker compose version')) return '';
    if (script.startsWith('ids=$(docker ps')) return JSON.stringify(engine.all.toReversed());
    return real.run(command, input);
  };
  return { ...real, run };
}

const MODEL = {
  name: 'shop',
  services: {
    web: { image: 'shop/web:1', healthcheck: { test: ['CMD', 'true'] } },
    proxy: { image: 'nginx', ports: [{ target: 80, published: '443' }] },
  },
};

/** Switches an app on `engine` to a version. @returns what the step noted */
async function switchTo(
  dir: string,
  engine: Engine,
  version: number,
  environment: Environment = 'as it runs',
): Promise<string> {
  const settings = {
    ...{ APP_DIR: dir, COMPOSE_FILE: 'compose.yml', IMAGE: [parseImage('shop/web')], DRAIN_COMMAND: 'drain' },
    ...{ ROLLOUT_SERVICES: ['web'], HEALTH_TIMEOUT: 5, HEALTHY_FOR: 0 },
  } as unknown as AppSettings;
  const app = await appOnHost(hostOf(engine), settings, new AbortController().signal, environment);
  let noted = '';
  const note = (text: string) => {
    noted = text;
  };
  await app.switchTo(release(version), { note, progress() {} });
  return noted;
}

/** What a change that was cut off has left. */
function cutOff(dir: string, ...ids: string[]): void {
  mkdirSync(join(dir, '.opsbook'), { mode: 0o700 });
  const was = { version: '2.0.0', at: '', who: '', ids, images: { web: 'sha256:1' } };
  writeFileSync(join(dir, '.opsbook/deploying.json'), JSON.stringify(was));
}

const proxy = made('proxy', 'proxy', 'sha256:nginx');
const ids = ({ all }: Engine) => all.map(({ Id }) => Id);
const NAMED = 'server web:8000;';

test('F20: a proxy that cannot be told of a rollout keeps the old containers, and what was started is removed', async (t) => {
  const dir = tempDir(t);
  const engine: Engine = { all: [proxy, made('old', 'web', 'sha256:1')], next: { version: 2 }, did: [] };
  await assert.rejects(switchTo(dir, engine, 2), /shop-proxy was not reloaded: host not found in upstream/);
  assert.deepEqual(
    engine.did.filter((text) => text.includes(' old')),
    [],
  );
  await switchTo(dir, engine, 1, 'as it was');
  assert.deepEqual(ids(engine), ['proxy', 'old']);
});

test('R2: where nothing old serves, a proxy that cannot be told keeps no version from coming', async (t) => {
  const old = made('old', 'web', 'sha256:1', 'hash', 'exited');
  const engine: Engine = { all: [proxy, old], next: { version: 2 }, did: [] };
  assert.match(await switchTo(tempDir(t), engine, 2), /shop-proxy was not reloaded/);
  assert.deepEqual(ids(engine).length, 2);
  assert.ok(!ids(engine).includes('old'));
});

test('F20: after a run that was cut off the proxy is told of the new containers before the old ones end', async (t) => {
  const dir = tempDir(t);
  cutOff(dir, 'old');
  const all = [proxy, made('old', 'web', 'sha256:1'), made('new', 'web', 'sha256:2')];
  const engine: Engine = { all, next: { version: 2 }, nginx: NAMED, did: [] };
  await switchTo(dir, engine, 2);
  assert.deepEqual(ids(engine), ['proxy', 'new']);
  const reload = engine.did.indexOf('exec proxy nginx -s reload');
  assert.ok(reload >= 0 && reload < engine.did.indexOf('exec old sh -c drain'), engine.did.join('\n'));
});

test('R3: --new-environment is applied after a run that was cut off as well', async (t) => {
  const dir = tempDir(t);
  cutOff(dir, 'old');
  const all = [proxy, made('old', 'web', 'sha256:1', 'before')];
  const engine: Engine = { all, next: { version: 1, hash: 'after' }, nginx: NAMED, did: [] };
  await switchTo(dir, engine, 1, 'may differ');
  assert.ok(!ids(engine).includes('old'), engine.did.join('\n'));
});

test('F20: an old container that is unhealthy for the moment is told to drain, and need not manage to', async (t) => {
  for (const drainFails of [false, true]) {
    const old = made('old', 'web', 'sha256:1', 'hash', 'unhealthy');
    const engine: Engine = { all: [proxy, old], next: { version: 2 }, nginx: NAMED, did: [], drainFails };
    await switchTo(tempDir(t), engine, 2);
    assert.ok(engine.did.includes('exec old sh -c drain'), engine.did.join('\n'));
    assert.ok(!ids(engine).includes('old'));
  }
});

test('F20: a container that was started in this run and never was healthy is not told to drain', async (t) => {
  const dir = tempDir(t);
  const next = { version: 2, status: 'unhealthy' };
  const engine: Engine = { all: [proxy, made('old', 'web', 'sha256:1')], next, nginx: NAMED, did: [] };
  await assert.rejects(switchTo(dir, engine, 2), /unhealthy/);
  await switchTo(dir, engine, 1, 'as it was');
  assert.deepEqual(ids(engine), ['proxy', 'old']);
  assert.ok(!engine.did.some((text) => text.endsWith('sh -c drain')), engine.did.join('\n'));
});

for (const [once, configuration] of [
  [true, 'upstream app {\n  server web:8000;\n}'],
  [true, '  proxy_pass http://web:8000/api/;'],
  [true, 'server web:8000 max_fails=2;'],
  [false, 'server web:8000 resolve;'],
  [false, 'set $web http://web:8000;\nproxy_pass $web;'],
  [false, 'proxy_pass http://website:8000;'],
  [false, 'server_name web;'],
] as const)
  test(`nginx looks web up ${once ? 'once' : 'again and again, or not at all'}: ${configuration.split('\n').join(' ')}`, () => {
    assert.equal(namesOnce(configuration, 'web'), once);
  });
