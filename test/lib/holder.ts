/** Takes the lock named on its command line, says so, and releases it when told on standard input. */

import { localHost } from '../../lib/hosts.ts';
import { acquire } from '../../lib/lock.ts';

process.on('SIGINT', () => process.stdout.write('interrupted\n'));
const held = await acquire(localHost(), process.argv[2] ?? '', 'backup');
process.stdout.write('held\n');
process.stdin.once('data', async () => {
  await held.release();
  process.stdout.write('released\n');
  process.exit();
});
