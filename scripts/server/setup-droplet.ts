import { script } from '../../lib/script.ts';
import type { Item } from '../../lib/server/converge.ts';
import type { Request } from '../../lib/server/setup.ts';
import { setupSettings, userDataFlag } from '../../lib/server/setup-settings.ts';

await script(import.meta, {
  does: 'Make a droplet ready for the app: as setup-ec2, plus a sudo user, a firewall, fail2ban, updates, SSH by key only',
  step: 'Set up a droplet',
  example: 'npx tsx scripts/server/setup-droplet.ts --target ssh://root@chitram.example.org --dry-run',
  settings: setupSettings,
  flags: { userData: userDataFlag },
  hostless: 'userData',
  changes: true,
  reports: true,
  async run(context) {
    const { preflight, printUserData, setUp } = await import('../../lib/server/setup.ts');
    const { userData } = context.flags;
    if (userData) return printUserData(userData, droplet, context);

    // No impact yet.
    const items = await droplet(await preflight(context));

    // From here on the droplet is changed.
    await setUp(items, context);
  },
});

/** What a droplet is to be, in the order in which it is made so. */
export async function droplet(request: Request): Promise<Item[]> {
  const { machine } = await import('../../lib/server/setup-machine.ts');
  const { app, appUser } = await import('../../lib/server/setup-app.ts');
  const { hardening, sudoUser } = await import('../../lib/server/setup-droplet.ts');
  const user = request.settings.APP_USER ?? 'deploy';
  return [
    ...machine(request.system),
    ...appUser(user),
    ...sudoUser(user, request.facts.login),
    ...app(request, user),
    ...hardening(request, user),
  ];
}
