import type { Bench } from './options.ts';

// The sandbox's names are read when its modules are: a benchmark has a sandbox of its own unless told.
process.env.OPSBOOK_SANDBOX ??= 'bench';

const { parseOptions, UsageError, usage } = await import('./options.ts');
const { cleanUp, interrupted } = await import('./cleanup.ts');

/** What can be measured: for each area a module with a table of named benchmarks. */
const areas: Record<string, () => Promise<Bench>> = {
  backup: async () => (await import('./backup/index.ts')).backup,
  remote: async () => (await import('./remote/index.ts')).remote,
  deploy: async () => (await import('./deploy/index.ts')).deploy,
};

async function main(argv: string[]): Promise<void> {
  const options = parseOptions(argv, Object.keys(areas));
  if (!options) return void process.stdout.write(usage(Object.keys(areas)));
  const bench = await areas[options.area]!();
  await bench(options);
}

let code = 0;
try {
  await main(process.argv.slice(2));
} catch (error) {
  code = interrupted.aborted ? 130 : error instanceof UsageError ? 2 : 1;
  const { message, stack } = error as Error;
  if (code !== 130) process.stderr.write(`bench: ${code === 2 ? message : stack}\n`);
} finally {
  await cleanUp();
}
process.exit(code);
