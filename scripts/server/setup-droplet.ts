import { script } from '../../lib/script.ts';
import { userDataFlag } from '../../lib/server/setup-facts.ts';
import { setupSettings } from '../../lib/server/setup-settings.ts';

await script(import.meta, {
  does: 'Make a droplet ready for the app: as for EC2, and a sudo user, firewall, fail2ban, updates, keys only',
  step: 'Set up a droplet',
  example: 'npx tsx scripts/server/setup-droplet.ts --target ssh://root@chitram.example.org --dry-run',
  settings: setupSettings,
  flags: { userData: userDataFlag },
  hostless: 'userData',
  changes: true,
  reports: true,
  async run(context) {
    const { setUp } = await import('../../lib/server/setup.ts');
    await setUp('droplet', context, context.flags.userData);
  },
});
