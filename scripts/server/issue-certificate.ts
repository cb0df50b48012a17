import { script } from '../../lib/script.ts';
import { acmeSettings, certificateSettings } from '../../lib/server/certificate-settings.ts';

await script(import.meta, {
  does: "Get the app's certificate by its running proxy, or before that runs; and let it be renewed that way",
  step: 'Get a certificate',
  example: 'npx tsx scripts/server/issue-certificate.ts --dry-run',
  settings: { ...certificateSettings, ...acmeSettings },
  changes: true,
  async run(context) {
    const { issue } = await import('../../lib/server/issue-certificate.ts');
    await issue(context);
  },
});
