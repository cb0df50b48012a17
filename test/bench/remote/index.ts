import { parseTarget } from '../../../lib/app.ts';
import { ssmClient } from '../../../lib/aws.ts';
import { cmd } from '../../../lib/command.ts';
import { openHosts } from '../../../lib/hosts.ts';
import { onEach } from '../../../lib/server/remote.ts';
import type { Host } from '../../../lib/shell.ts';
import { region } from '../../sandbox/cloud/aws.ts';
import { interleave, seconds } from '../measure.ts';
import { type Options, UsageError } from '../options.ts';
import { scriptArgv, timed } from '../run.ts';
import { compared, header, type Row, render, spread, within } from '../table.ts';
import { awsEnvironment, type Bench, openBench } from '../world.ts';
import { type Machines, startMachines } from './machines.ts';
import { rawMany, rawOne } from './raw.ts';

const FLEET = 50;
const BY_SSH = 20;
const WORK = 'sleep 1; uptime';
const command = cmd`sh -c ${WORK}`;

const benchmarks: Record<string, (bench: Bench, machines: Machines, rounds: number) => Promise<Row[]>> = {
  ssm,
  ssh,
};

/** What reaching hosts costs: one by SSM, fifty by SSM, twenty by ssh. */
export async function remote(options: Options): Promise<void> {
  const names = options.names.length > 0 ? options.names : Object.keys(benchmarks);
  const unknown = names.filter((name) => !(name in benchmarks));
  if (unknown.length > 0)
    throw new UsageError(
      `no benchmark ${unknown.join(', ')}: there are ${Object.keys(benchmarks).join(', ')}`,
    );
  const note = header();
  const bench = await openBench();
  Object.assign(process.env, awsEnvironment(bench));
  const machines = await startMachines(bench, options.small ? 5 : FLEET);
  const rows: Row[] = [];
  for (const name of names) rows.push(...(await benchmarks[name]!(bench, machines, options.rounds)));
  process.stdout.write(`\n${render(rows)}\n- ${note}\n- each command is: ${WORK}\n`);
}

async function ssm(bench: Bench, { all }: Machines, rounds: number): Promise<Row[]> {
  const client = await ssmClient(region);
  const ids = all.map(({ instance }) => instance);
  const [one = ''] = ids;
  const open = (uri: string) => hostsOf([uri]);
  const [single, fleet] = await Promise.all([open(`ssm://${one}`), open('ssm://tag:Name=bench')]);
  const script = (target: string) => timedScript(bench, target);
  const taken = await interleave('SSM', rounds, {
    floor: () => seconds(() => rawOne(client, one, WORK)),
    ours: () => seconds(() => run(single)),
    script: () => script(`ssm://${one}`),
    floorAll: () => seconds(() => rawMany(client, ids, WORK)),
    all: () => seconds(() => run(fleet)),
    scriptAll: () => script('ssm://tag:Name=bench'),
  });
  const { floor, ours, floorAll } = taken;
  const late = ours.median - floor.median;
  return [
    {
      ...{
        what: 'one SSM command: later than its delivery and run',
        ours: spread(ours),
        floor: spread(floor),
      },
      ...{ ratio: `+${late.toFixed(2)} s`, target: '≤ +1 s' },
      verdict: late <= 1 ? 'reached' : `missed by ${(late - 1).toFixed(2)} s`,
    },
    within(
      `${ids.length} instances against one, remote.ts`,
      taken.scriptAll.median,
      taken.script.median,
      1.5,
      {
        ...{ ours: spread(taken.scriptAll), peer: spread(taken.script) },
      },
    ),
    compared(`${ids.length} instances against the same by bare calls`, taken.all, floorAll),
  ];
}

async function ssh(bench: Bench, { all, key, knownHosts }: Machines, rounds: number): Promise<Row[]> {
  const some = all.slice(0, BY_SSH).map(({ address }) => `ssh://${address}`);
  const access = { SSH_IDENTITY_FILE: key, SSH_KNOWN_HOSTS: knownHosts };
  const { one, many } = await interleave('ssh', rounds, {
    one: () => timedScript(bench, some[0] ?? '', access),
    many: () => timedScript(bench, some.join(','), access),
  });
  const shown = { ours: spread(many), peer: spread(one) };
  return [within(`${some.length} hosts by ssh against one, remote.ts`, many.median, one.median, 2, shown)];
}

async function hostsOf(targets: readonly string[]): Promise<Host[]> {
  const signal = new AbortController().signal;
  const { hosts } = await openHosts(
    {
      TARGET: targets.map(parseTarget),
      AWS_REGION: region,
      SSH_IDENTITY_FILE: undefined,
      SSH_KNOWN_HOSTS: undefined,
    },
    { signal },
  );
  return hosts;
}

async function run(hosts: readonly Host[]): Promise<void> {
  const outcomes = await onEach(hosts, command, {
    onOutput: () => {},
    signal: new AbortController().signal,
  });
  const failed = outcomes.find(({ failure }) => failure);
  if (failed?.failure) throw failed.failure;
}

async function timedScript(bench: Bench, target: string, more: Record<string, string> = {}): Promise<number> {
  const env = {
    ...bench.env,
    ...awsEnvironment(bench),
    ...more,
    APP: 'bench',
    APP_DIR: '/tmp',
    TARGET: target,
  };
  return (await timed(scriptArgv('scripts/server/remote.ts', 'shell', WORK), env)).seconds;
}
