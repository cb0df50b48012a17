import { script } from '../../lib/script.ts';
import { certificateSettings } from '../../lib/server/certificate-settings.ts';

await script(import.meta, {
  does: 'Find what will keep the certificate from being renewed or served, before it expires',
  step: 'Check the certificate',
  example: 'npx tsx scripts/server/check-certificate.ts --json',
  settings: certificateSettings,
  reports: true,
  async run(context) {
    const { checkCertificate } = await import('../../lib/server/check-certificate.ts');
    const { describeRows, refuseProblems } = await import('../../lib/server/served.ts');
    const { siteOf } = await import('../../lib/server/served.ts');

    const rows = await checkCertificate(siteOf(context));
    context.report.data(context.json ? JSON.stringify({ checks: rows }) : describeRows(rows));
    refuseProblems(rows);
  },
});
