import { type AppName, buckets } from './cloud/seed.ts';
import { exportLines, exports } from './env.ts';
import { prefix, SandboxError } from './names.ts';
import { say } from './progress.ts';
import { down } from './removal.ts';
import { purge, status } from './status.ts';
import { type Part, parts, up, world } from './world.ts';

const usage = `npm run sandbox                 bring it up; prints export lines:  eval "$(npm run --silent sandbox)"
npm run sandbox -- up [PART…]   the same with other parts in it: ${parts.join(', ')}
npm run sandbox -- env [APP]    print the export lines of the running sandbox for ${Object.keys(buckets).join(' or ')}
npm run sandbox -- status       what runs
npm run sandbox -- down         remove it; built images stay cached
npm run sandbox -- purge        remove it and the cache
OPSBOOK_SANDBOX=name            another sandbox beside this one (now: ${prefix})
`;

function oneOf<T extends string>(what: string, known: readonly T[], name: string): T {
  const found = known.find((one) => one === name);
  if (!found) throw new SandboxError(`unknown ${what} ${name}: there are ${known.join(', ')}`);
  return found;
}

const apps = Object.keys(buckets) as AppName[];
const print = (values: Record<string, string>): boolean => process.stdout.write(exportLines(values));

const commands: Record<string, (args: string[]) => Promise<void>> = {
  async up(args) {
    const wanted = args.map((name): Part => oneOf('part', parts, name));
    const made = await up(wanted.length > 0 ? wanted : ['bloaty']);
    const app = apps.find((name) => wanted.includes(name));
    print(exports(made, app));
    say(`the sandbox "${prefix}" is up`);
  },
  async env([app = 'bloaty']) {
    print(exports(await world(), oneOf('app', apps, app)));
  },
  async status() {
    process.stdout.write(await status());
  },
  down,
  async purge() {
    await down();
    await purge();
  },
  async help() {
    process.stdout.write(usage);
  },
};

async function main([command = 'up', ...args]: string[]): Promise<void> {
  const run = commands[command.replace(/^(--help|-h)$/, 'help')];
  if (!run) throw new SandboxError(`unknown command ${command}\n${usage}`);
  await run(args);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  const known = error instanceof SandboxError && !process.env.VERBOSE;
  process.stderr.write(`sandbox: ${known ? error.message : (error as Error).stack}\n`);
  process.exitCode = 1;
});
