import { script } from '../../lib/script.ts';
import type { Item } from '../../lib/server/converge.ts';
import type { Request } from '../../lib/server/setup.ts';
import { setupSettings, userDataFlag } from '../../lib/server/setup-settings.ts';

/** What EC2 takes, in bytes. */
export const USER_DATA_MAX = 16 * 1024;

await script(import.meta, {
  does: 'Make an EC2 instance ready for the app: Docker, users, directories, cron, a unit that starts it at boot',
  step: 'Set up an EC2 instance',
  example: 'npx tsx scripts/server/setup-ec2.ts --target ssm://i-0123456789abcdef0 --dry-run',
  settings: setupSettings,
  flags: { userData: userDataFlag },
  hostless: 'userData',
  changes: true,
  reports: true,
  async run(context) {
    const { preflight, printUserData, setUp } = await import('../../lib/server/setup.ts');
    const { userData } = context.flags;
    if (userData) return printUserData(userData, instance, context, USER_DATA_MAX);

    // No impact yet.
    const items = await instance(await preflight(context));

    // From here on the instance is changed.
    await setUp(items, context);
  },
});

/** What an instance is to be, in the order in which it is made so. */
export async function instance(request: Request): Promise<Item[]> {
  const { machine } = await import('../../lib/server/setup-machine.ts');
  const { app, appUser } = await import('../../lib/server/setup-app.ts');
  const user = request.settings.APP_USER ?? request.system.imageUser;
  return [...machine(request.system), ...appUser(user), ...app(request, user)];
}
