import { option } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import { verifySettings } from '../../lib/server/verify-settings.ts';

await script(import.meta, {
  name: 'verify-server',
  does: 'Check the app from outside and its hosts from inside: names, certificate, health, containers, disks, backups',
  step: 'Verify the app and its hosts',
  example: 'npx tsx scripts/server/verify.ts --target ssh://ec2-user@bloaty-app.com --html report.html',
  settings: verifySettings,
  flags: {
    html: option<string>('--html <file>', 'write the report as one page that a browser shows'),
  },
  reports: true,
  reaches: 'hosts that answer',
  async run(context) {
    const { flags, report, json } = context;
    const { verify } = await import('../../lib/server/verify.ts');
    const { refuseProblems } = await import('../../lib/server/verify-settings.ts');
    const { describeVerification } = await import('../../lib/server/verify.ts');

    const found = await verify(context);
    report.data(json ? JSON.stringify(found) : describeVerification(found));
    if (flags.html !== undefined) {
      const { writePage } = await import('../../lib/server/verify-html.ts');
      await writePage(flags.html, found);
    }
    refuseProblems(found.rows);
  },
});
