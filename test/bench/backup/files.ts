import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bareCeiling, shown, signedCeiling } from '../ceiling.ts';
import { interleave } from '../measure.ts';
import type { Options } from '../options.ts';
import { timedInside } from '../run.ts';
import { say } from '../say.ts';
import { faster, type Row } from '../table.ts';
import type { Bench } from '../world.ts';
import type { Outcome } from './index.ts';
import { peakRow } from './observed.ts';
import { appEnvironment, SCRIPT, watched } from './ours.ts';
import { addressIn, emulatorClient, emulatorTarget, sinkTarget, type Target } from './stores.ts';
import { type Made, makeFiles } from './tree.ts';

/** A directory of generated files, and the app that it belongs to. */
interface Subject {
  bench: Bench;
  appDir: string;
  made: Made[];
  /** Peak memory of our script's process so far, in bytes. */
  peak: number;
}

const MEAN = 50_000;
const SMALL_MEAN = 2_000;

/** Backup of many files: ours and `aws s3 sync`, the first time and when nothing has changed. */
export async function files(bench: Bench, options: Options): Promise<Outcome> {
  const [sink, emulator] = [await sinkTarget(bench), await emulatorTarget(bench)];
  const notes = [
    shown(sink.name, await bareCeiling(sink.sink.url, sink.bucket)),
    shown(emulator.name, await signedCeiling(emulatorClient(bench), sink.bucket)),
  ];
  for (const target of [sink, emulator]) await target.empty();
  const subject = await prepare(bench, options.small ? 2_000 : 20_000, MEAN);
  const { rounds } = options;
  const rows: Row[] = [];
  rows.push(await first(subject, sink, rounds, 2));
  rows.push(await first(subject, emulator, rounds, undefined));
  rows.push(await second(subject, sink, rounds, 1.5));
  rows.push(peakRow(`${subject.made.length} files`, subject.peak));
  await rm(subject.appDir, { recursive: true });
  if (options.large) {
    const many = await prepare(bench, 200_000, SMALL_MEAN);
    rows.push(await second(many, sink, rounds, 3), peakRow('200000 files', many.peak));
  }
  return { rows, notes };
}

async function prepare(bench: Bench, count: number, mean: number): Promise<Subject> {
  say(`generating ${count} files`);
  const appDir = join(bench.dir, `files-${count}`);
  const made = await makeFiles(join(appDir, 'uploads'), count, mean);
  const total = made.reduce((sum, [, size]) => sum + size, 0);
  say(`generated ${count} files, ${(total / 1e6).toFixed(0)} MB`);
  return { bench, appDir, made, peak: 0 };
}

async function ours(subject: Subject, target: Target): Promise<number> {
  const { bench, appDir } = subject;
  const env = { ...appEnvironment(bench, appDir, target), BACKUP_DIRECTORIES: 'uploads' };
  const { seconds, seen } = await watched(SCRIPT, [], env);
  subject.peak = Math.max(subject.peak, seen.peak);
  return seconds;
}

function sync({ bench, appDir }: Subject, target: Target): Promise<number> {
  const argv = ['aws', 's3', 'sync', '--no-progress', `${appDir}/uploads`, addressIn(target, 'sync')];
  return timedInside(bench, bench.tools, argv, target.env);
}

/** Into an empty store, and without the memory of an earlier backup. */
function first(subject: Subject, target: Target, rounds: number, goal: number | undefined): Promise<Row> {
  const afresh = (act: typeof ours) => async () => {
    const seconds = await act(subject, target);
    await target.empty();
    await rm(join(subject.appDir, '.opsbook'), { recursive: true, force: true });
    return seconds;
  };
  return contest(subject, `first backup to ${target.name}`, rounds, goal, {
    ours: afresh(ours),
    sync: afresh(sync),
  });
}

/** Nothing has changed since a first run of each. */
async function second(
  subject: Subject,
  target: Awaited<ReturnType<typeof sinkTarget>>,
  rounds: number,
  goal: number,
): Promise<Row> {
  await target.empty();
  await ours(subject, target);
  // As after a first `aws s3 sync`, which would take minutes for the large directory.
  await target.sink.populate(
    target.bucket,
    subject.made.map(([path, size]) => [`sync/${path}`, size]),
  );
  return contest(subject, `nothing changed, to ${target.name}`, rounds, goal, {
    ours: () => ours(subject, target),
    sync: () => sync(subject, target),
  });
}

async function contest(
  { made }: Subject,
  what: string,
  rounds: number,
  goal: number | undefined,
  contenders: { ours: () => Promise<number>; sync: () => Promise<number> },
): Promise<Row> {
  const title = `${made.length} files, ${what}`;
  const took = await interleave(title, rounds, contenders);
  return faster(`${title}, against aws s3 sync`, took.ours, took.sync, goal);
}
