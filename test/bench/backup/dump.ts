import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { bareCeiling, shown, signedCeiling } from '../ceiling.ts';
import { type Contender, interleave, type Sample, sum } from '../measure.ts';
import type { Options } from '../options.ts';
import { timed, timedInside } from '../run.ts';
import { compared, faster, type Row, spread, within } from '../table.ts';
import type { Bench } from '../world.ts';
import type { Outcome } from './index.ts';
import { memoryRows, temporaryRow } from './observed.ts';
import { backUp, type Subject } from './ours.ts';
import { ensureDatabase, openServer } from './server.ts';
import { addressIn, emulatorClient, emulatorTarget, fileTarget, sinkTarget, type Target } from './stores.ts';

/** The first half of the guides' pipeline; the second is `aws s3 cp`. */
const DUMP_AND_GZIP = 'docker exec "$1" pg_dump -U postgres "$2" | gzip > "$3"';

interface Stage {
  subject: Subject;
  targets: { file: Target & { path: string }; sink: Target; emulator: Target };
  /** Where the guides' pipeline has its dump. */
  gzipped: string;
}

/** Backup of a database: ours, the guides' pipeline, and pg_dump alone. */
export async function dump(bench: Bench, options: Options): Promise<Outcome> {
  const server = await openServer(bench);
  const database = await ensureDatabase(bench, server, options.small ? 100 : 1000);
  const [file, sink, emulator] = [fileTarget(bench), await sinkTarget(bench), await emulatorTarget(bench)];
  const targets = { file, sink, emulator };
  const notes = [
    shown(sink.name, await bareCeiling(sink.sink.url, sink.bucket)),
    shown(emulator.name, await signedCeiling(emulatorClient(bench), sink.bucket)),
  ];
  for (const target of Object.values(targets)) await target.empty();
  const subject: Subject = { bench, server, database, observed: [] };
  const stage: Stage = { subject, targets, gzipped: join(bench.dir, 'peer.sql.gz') };
  const took = await interleave(`backup of ${database}`, options.rounds, await contenders(stage));
  if (options.large) await backUpLarge(stage);
  const rows = [
    ...speedRows(stage, took),
    await bytesRow(stage),
    compared(
      'encrypted to an age recipient, file:// (floor: not encrypted)',
      took.encrypted!,
      took['ours file']!,
    ),
    ...memoryRows(subject.observed),
    temporaryRow(subject.observed, file.path),
  ];
  return { rows, notes };
}

async function contenders({ subject, targets, gzipped }: Stage): Promise<Record<string, Contender>> {
  const { bench, server, database } = subject;
  const pgDump = ['pg_dump', '-U', 'postgres', '-Fc', '-Z', 'zstd:1', database];
  const gzip = ['sh', '-c', DUMP_AND_GZIP, 'peer', server.container, database, gzipped] as [
    string,
    ...string[],
  ];
  const copy = async (target: Target): Promise<number> => {
    const argv = ['aws', 's3', 'cp', gzipped, addressIn(target, 'peer.sql.gz')];
    const taken = await timedInside(bench, bench.tools, argv, target.env);
    await target.empty();
    return taken;
  };
  const recipient = await identityToRecipient(await generateIdentity());
  return {
    floor: () => timedInside(bench, server.container, pgDump),
    'ours file': () => backUp(subject, targets.file),
    'pg_dump | gzip': async () => (await timed(gzip, bench.env)).seconds,
    'ours sink': () => backUp(subject, targets.sink),
    'aws s3 cp sink': () => copy(targets.sink),
    'ours emulator': () => backUp(subject, targets.emulator),
    'aws s3 cp emulator': () => copy(targets.emulator),
    encrypted: () => backUp(subject, targets.file, recipient),
  };
}

/** The same backups of four times as much, once: their memory is what is looked at. */
async function backUpLarge({ subject, targets }: Stage): Promise<void> {
  const { bench, server, observed } = subject;
  const database = await ensureDatabase(bench, server, 4000);
  for (const target of Object.values(targets)) await backUp({ bench, server, database, observed }, target);
}

function speedRows({ targets }: Stage, took: Record<string, Sample>): Row[] {
  const [floor, gzip] = [took.floor!, took['pg_dump | gzip']!];
  return Object.entries(targets).flatMap(([key, { name }]) => {
    const ours = took[`ours ${key}`]!;
    const second = took[`aws s3 cp ${key}`];
    // The two halves of the pipeline run one after the other; the first is the same for each store.
    const peer = second ? sum(gzip, second) : gzip;
    const pipeline = second ? 'pg_dump, gzip > file && aws s3 cp' : 'pg_dump, gzip > file';
    return [
      faster(`backup to ${name} against ${pipeline}`, ours, peer, 5),
      within(`backup to ${name} against pg_dump -Fc -Z zstd:1 > /dev/null`, ours.median, floor.median, 1.25, {
        ours: spread(ours),
        floor: spread(floor),
      }),
    ];
  });
}

async function bytesRow({ subject, gzipped }: Stage): Promise<Row> {
  const ours = subject.observed.find(({ encrypted }) => !encrypted)!.stored;
  const peer = (await stat(gzipped)).size;
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  return within('bytes stored', ours, peer, 0.9, { ours: megabytes(ours), peer: megabytes(peer) });
}
