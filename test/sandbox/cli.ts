import { env, exit } from 'node:process';
import { exportLines, exports } from './env.ts';
import { prefix, SandboxError } from './names.ts';
import { say } from './progress.ts';
import { down, type Part, parts, up, world } from './world.ts';

const usage = `npm run sandbox                 bring it up; prints export lines:  eval "$(npm run --silent sandbox)"
npm run sandbox -- up [PART…]   the same with more in it: ${parts.join(', ')}
npm run sandbox -- env          print the export lines of the running sandbox
npm run sandbox -- down         remove it; built images stay cached
OPSBOOK_SANDBOX=name            another sandbox beside this one (now: ${prefix})
`;

function asParts(names: string[]): Part[] {
  const unknown = names.filter((name) => !(parts as readonly string[]).includes(name));
  if (unknown.length > 0) {
    throw new SandboxError(`unknown part ${unknown.join(', ')}: there are ${parts.join(', ')}`);
  }
  return names as Part[];
}

async function main([command = 'up', ...rest]: string[]): Promise<void> {
  if (command === 'up') {
    process.stdout.write(exportLines(exports(await up(rest.length > 0 ? asParts(rest) : undefined))));
    say(`the sandbox "${prefix}" is up`);
  } else if (command === 'env') process.stdout.write(exportLines(exports(await world())));
  else if (command === 'down') await down();
  else throw new SandboxError(`unknown command ${command}\n${usage}`);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  const known = error instanceof SandboxError && !env.VERBOSE;
  process.stderr.write(`sandbox: ${known ? error.message : (error as Error).stack}\n`);
  exit(1);
});
