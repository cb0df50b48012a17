import { script } from '../../lib/script.ts';
import { userDataFlag } from '../../lib/server/setup-facts.ts';
import { setupSettings } from '../../lib/server/setup-settings.ts';

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
    const { setUp } = await import('../../lib/server/setup.ts');
    await setUp('ec2', context, context.flags.userData);
  },
});
