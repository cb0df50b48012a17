import { up } from '../../sandbox/world.ts';
import { sample } from '../measure.ts';
import { type Options, UsageError } from '../options.ts';
import { scriptArgv, timed } from '../run.ts';
import { say } from '../say.ts';
import { header, type Row, render, spread } from '../table.ts';
import { openBench } from '../world.ts';
import { costOf } from './cost.ts';
import { type Seen, underLoad } from './load.ts';
import { image, quickVerdict, type Subject, startUp, subject, verdict } from './subject.ts';

const RATE = 200;
/** What a deployment may take over the app's own start-up, in seconds. */
const OVERHEAD = 3;

const benchmarks: Record<string, (subjects: Subject[], rounds: number) => Promise<Row[]>> = {
  rollout,
  failure,
};

/** What a deployment takes, and what users notice of it, on a compose host behind nginx and behind Caddy. */
export async function deploy(options: Options): Promise<void> {
  const names = options.names.length > 0 ? options.names : Object.keys(benchmarks);
  const unknown = names.filter((name) => !(name in benchmarks));
  if (unknown.length > 0)
    throw new UsageError(
      `no benchmark ${unknown.join(', ')}: there are ${Object.keys(benchmarks).join(', ')}`,
    );
  const note = header();
  const { env } = await openBench();
  const world = await up(['bloaty', 'chitram']);
  const subjects = [
    await subject('bloaty', 'nginx', world.bloaty!, env),
    await subject('chitram', 'Caddy', world.chitram!, env),
  ];
  const rows: Row[] = [];
  for (const name of names) rows.push(...(await benchmarks[name]!(subjects, options.rounds)));
  const notes = [note, `load: ${RATE} requests a second, kept alive; HEALTHY_FOR=0`];
  process.stdout.write(`\n${render(rows)}\n${notes.map((one) => `- ${one}\n`).join('')}`);
}

interface Round {
  seconds: number;
  own: number;
  seen: Seen;
}

/** Ours and `docker compose up -d` in turn, each under the same load, after a warm-up. */
async function rollout(subjects: Subject[], rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const one of subjects) {
    const ours: Round[] = [];
    const peer: Round[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const [a, b] = [`1.${round}.0-ours`, `1.${round}.0-peer`];
      const first = await measured(one, a, scriptArgv('scripts/deploy/update-deployment.ts', a));
      const second = await measured(one, b, ['docker', 'compose', 'up', '--detach', '--wait']);
      if (round > 0) ours.push(first);
      if (round > 0) peer.push(second);
    }
    rows.push(...rowsOf(one, ours, peer));
  }
  return rows;
}

async function measured(one: Subject, version: string, argv: [string, ...string[]]): Promise<Round> {
  await image(one, version);
  const act = () => timed(argv, { ...one.env, APP_VERSION: version });
  const { result, seen } = await underLoad(`${one.url}/api/version`, RATE, act);
  const own = await startUp(one);
  say(
    `${one.name}, ${version}: ${result.seconds.toFixed(1)} s, ${seen.failed} of ${seen.requests} failed ${seen.first?.[0] ?? ''}`,
  );
  return { seconds: result.seconds, own, seen };
}

function rowsOf({ proxy }: Subject, ours: Round[], peer: Round[]): Row[] {
  const failed = (rounds: Round[]) => rounds.reduce((sum, { seen }) => sum + seen.failed, 0);
  const of = (rounds: Round[]) =>
    `${failed(rounds)} of ${rounds.reduce((sum, { seen }) => sum + seen.requests, 0)}`;
  const over = sample(ours.map(({ seconds, own }) => seconds - own));
  return [
    {
      ...{ what: `failed requests in a rollout behind ${proxy}, against docker compose up -d`, target: '0' },
      ...{ ours: of(ours), peer: of(peer), verdict: failed(ours) === 0 ? 'reached' : 'missed' },
    },
    {
      ...{ what: `slowest request (ms), ${proxy}`, verdict: 'information' },
      ...{ ours: String(Math.max(...ours.map(({ seen }) => seen.slowest))) },
      ...{ peer: String(Math.max(...peer.map(({ seen }) => seen.slowest))) },
    },
    {
      ...{
        what: `start to verified, ${proxy}; floor: the app's own start-up`,
        target: `floor + ${OVERHEAD} s`,
      },
      ...{
        ours: spread(sample(ours.map(({ seconds }) => seconds))),
        peer: spread(sample(peer.map(({ seconds }) => seconds))),
      },
      ...{ floor: spread(sample(ours.map(({ own }) => own))), ratio: `+${over.median.toFixed(2)} s` },
      verdict: over.median <= OVERHEAD ? 'reached' : `missed by ${(over.median - OVERHEAD).toFixed(2)} s`,
    },
  ];
}

/** A version that never becomes healthy: how long after Docker's verdict the old one is back and the report ended. */
async function failure([one]: Subject[], rounds: number): Promise<Row[]> {
  if (!one) return [];
  await image(one, 'never', ['CMD ["-e", "setInterval(() => {}, 1000)"]']);
  const env = await quickVerdict(one);
  const late: number[] = [];
  const costs: Array<Awaited<ReturnType<typeof costOf>>> = [];
  for (let round = 0; round < rounds; round += 1) {
    const started = Date.now();
    const run = await costOf(scriptArgv('scripts/deploy/update-deployment.ts', 'never'), env);
    if (run.code !== 1)
      throw new Error(`it should have failed with 1, not ${run.code}: ${run.said.slice(-800)}`);
    const ended = Date.now();
    late.push((ended - (await verdict(one, started, ended))) / 1000);
    costs.push(run);
  }
  const after = sample(late);
  return [
    {
      ...{
        what: 'never healthy: from its verdict until the old version is back and all is told',
        ours: spread(after),
      },
      ...{
        target: '≤ 5 s',
        verdict: after.median <= 5 ? 'reached' : `missed by ${(after.median - 5).toFixed(2)} s`,
      },
    },
    {
      ...{
        what: 'processor time of such a run, with the docker commands that it starts',
        verdict: 'information',
      },
      ours: spread(sample(costs.map(({ cpu }) => cpu))),
    },
    {
      ...{ what: 'peak memory of the script', verdict: 'information' },
      ours: spread(sample(costs.map(({ peak }) => peak / 1e6)), 'MB'),
    },
  ];
}
