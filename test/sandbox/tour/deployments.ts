import { exports } from '../env.ts';
import { up } from '../world.ts';
import { type Load, startLoad } from './load.ts';
import { step, summary, tell } from './narration.ts';
import { type Scripts, scripts, shellFile } from './scripts.ts';
import { openShop, type Shop } from './shop.ts';

const PER_SECOND = 100;

/** A version that does not even start: what its developers tried had another configuration. */
const BROKEN = `CMD ["-e", "throw new Error('PAYMENTS_URL is not set')"]`;

interface Tour {
  app: Scripts;
  shop: Shop;
}

/** One change of version: it ends as it should, the right version answers, and no request has failed. */
async function change({ app, shop }: Tour, load: Load | undefined, how: Change): Promise<void> {
  await step(how.title, async () => {
    await app.run(how.script, how.args, { exit: how.exit ?? 0, ...(how.note ? { note: how.note } : {}) });
    const answers = await shop.answered();
    if (answers !== how.leaves) throw new Error(`${answers} answers, not ${how.leaves}`);
    await load?.unbroken();
    return `${how.proven ?? ''}${answers} answers${load ? '; no request failed' : ''}`;
  });
}

interface Change {
  title: string;
  script: string;
  args: readonly string[];
  exit?: number;
  note?: string;
  /** The version that has to answer after it. */
  leaves: string;
  proven?: string;
}

async function underLoad(tour: Tour, load: Load): Promise<string> {
  const script = 'deploy/update-deployment';
  tell(
    '2. Version 2.0.0. Its container starts beside the old one; when it is healthy nginx is told of it, the old\n' +
      'one answers what it still has, and ends.',
  );
  await change(tour, load, { title: 'update to 2.0.0', script, args: ['2.0.0'], leaves: '2.0.0' });

  tell('3. Version 3.0.0 crashes when it starts. Nobody is to notice: it never gets a request.');
  await change(tour, load, {
    ...{ title: 'update to a broken 3.0.0', script, args: ['3.0.0'], leaves: '2.0.0' },
    ...{ exit: 1, note: 'exits with 1: CI turns red', proven: 'exit 1, rolled back by itself; ' },
  });

  tell(
    '4. 2.0.0 works, but users want the old colours back. A rollback goes to the last version that was verified.',
  );
  await change(tour, load, {
    ...{ title: 'rollback by hand', script: 'deploy/rollback', args: ['--yes'], leaves: '1.0.0' },
  });
  const { requests, failed, versions, slowest } = await load.end();
  if (!versions['1.0.0'] || !versions['2.0.0']) throw new Error('a version never answered the load');
  const heard = `${versions['1.0.0']} from 1.0.0, ${versions['2.0.0']} from 2.0.0`;
  return `${requests} requests, ${failed} failed; ${heard}; the slowest took ${slowest} ms`;
}

/** `npm run tour -- deployments`: versions come and go while people use the app. */
export async function deployments(): Promise<void> {
  tell(
    'opsbook, the tour of deployments. An app of its own on a host of the sandbox: nginx, two services from one\n' +
      'image, PostgreSQL, Redis. Three versions of that image are made; the third is broken.',
  );
  const world = await up();
  const shop = await openShop(world);
  await Promise.all([shop.image('1.0.0'), shop.image('2.0.0'), shop.image('3.0.0', BROKEN)]);
  const sandbox = exports(world);
  const tour = { shop, app: scripts(shop.env, sandbox) };

  tell(`1. The first deployment. The app is at ${shop.url} then.`);
  const first = { script: 'deploy/update-deployment', args: ['1.0.0'], leaves: '1.0.0' };
  await change(tour, undefined, { title: 'first deployment', ...first });

  tell(`From now on ${PER_SECOND} requests a second come in through nginx, and each that fails is counted.`);
  await step('all three, under load', async () => {
    const load = await startLoad(tour.app.env['VERSION_URL'] ?? '', PER_SECOND);
    return underLoad(tour, load).finally(load.stop);
  });

  tell('5. What happened is on record, on the host: who, when, from what, and whether it was seen to work.');
  await step('list', async () => {
    await tour.app.run('deploy/list-deployments');
    return 'every change is on record';
  });
  const file = shellFile('deployments', shop.env, sandbox);
  summary(
    `The app stays up. Commands to try next, after  . ${file}\n\n` +
      '  npx tsx scripts/deploy/update-deployment.ts 2.0.0 --diff       # what would change\n' +
      '  npx tsx scripts/deploy/update-deployment.ts 2.0.0 --dry-run    # every command, none of them run\n' +
      '  npx tsx scripts/deploy/rollback.ts --to 2.0.0 --yes            # to another version that was verified\n\n' +
      'and to end the sandbox:  npm run sandbox -- down',
  );
}
