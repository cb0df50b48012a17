import { script } from '../../lib/script.ts';
import { certificateSettings } from '../../lib/server/certificate-settings.ts';

await script(import.meta, {
  does: 'Renew the certificates that are due, reload the proxy, and see that it serves them',
  step: 'Renew certificates, twice a day',
  example: 'npx tsx scripts/server/renew-certificates.ts --env-file /opt/bloaty/.env',
  settings: certificateSettings,
  changes: true,
  async run(context) {
    const { renewDue } = await import('../../lib/server/issue-certificate.ts');
    await renewDue(context);
  },
});
