import type { Options } from '../options.ts';
import { UsageError } from '../options.ts';
import { say } from '../say.ts';
import { header, type Row, render } from '../table.ts';
import { type Bench, openBench } from '../world.ts';
import { dump } from './dump.ts';
import { files } from './files.ts';
import { help } from './help.ts';
import { restore } from './restore.ts';

/** What a benchmark adds to the table, and what has to be said below it. */
export interface Outcome {
  rows: Row[];
  notes: string[];
}

export type Benchmark = (bench: Bench, options: Options) => Promise<Outcome>;

const benchmarks: Record<string, Benchmark> = { help, database: dump, restore, files };

/** Runs the benchmarks of the backup area and prints their table. */
export async function backup(options: Options): Promise<void> {
  const names = options.names.length > 0 ? options.names : Object.keys(benchmarks);
  const unknown = names.filter((name) => !(name in benchmarks));
  if (unknown.length > 0) {
    throw new UsageError(
      `no benchmark ${unknown.join(', ')}: there are ${Object.keys(benchmarks).join(', ')}`,
    );
  }
  const rows: Row[] = [];
  const notes: string[] = [header()];
  if (options.small) notes.push('--small: a tenth of the sizes; the ratios are not those of the targets');
  try {
    const bench = await openBench();
    for (const name of names) {
      say(`benchmark ${name}`);
      const outcome = await benchmarks[name]!(bench, options);
      rows.push(...outcome.rows);
      notes.push(...outcome.notes);
    }
  } finally {
    const list = notes.map((note) => `- ${note}\n`).join('');
    if (rows.length > 0) process.stdout.write(`\n${render(rows)}\n${list}`);
  }
}
