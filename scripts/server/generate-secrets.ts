import { script } from '../../lib/script.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: 'Draw those secrets that the template says are generated and that have no value yet',
  step: 'Generate secrets',
  example: 'npx tsx scripts/server/generate-secrets.ts',
  settings: secretsSettings,
  changes: true,
  reports: true,
  lock: 'secrets',
  async run(context) {
    const { settings, report, host, change, dryRun, json } = context;
    const { needTemplate, readEnvFile } = await import('../../lib/server/secrets.ts');
    const { readSecrets, secretsOf } = await import('../../lib/server/secrets.ts');
    const { openStores } = await import('../../lib/server/secret-stores.ts');
    const { drawMissing, refuseOverwriting } = await import('../../lib/server/secrets.ts');
    const { askedFor, generators } = await import('../../lib/server/env-template.ts');
    const { describeMarks, marks } = await import('../../lib/server/env-template.ts');
    const { putAll, putsFor, refuseUnstorable } = await import('../../lib/server/secret-stores.ts');
    const { makeFile } = await import('../../lib/server/env-template.ts');
    const { rewriteHostFile } = await import('../../lib/host-files.ts');
    const { tellStale } = await import('../../lib/server/stale.ts');

    const template = await needTemplate(host, settings);
    const file = await readEnvFile(host, settings);
    const stores = await openStores(settings.SECRETS_FROM ?? [], settings.AWS_REGION);
    const secrets =
      stores.length > 0 ? await readSecrets(stores) : secretsOf(file.entries, askedFor(template).all);
    const drawn = drawMissing(template, secrets.values);
    if (stores.length > 0) refuseOverwriting(drawn, file, secrets);
    const generated = new Map([...generators(template).keys()].map((name) => [name, '']));
    const names = marks(new Map([...generated].filter(([name]) => !drawn.has(name))), generated);
    const tell = (recreate: readonly string[]) =>
      report.data(
        json ? JSON.stringify({ names: Object.fromEntries(names), recreate }) : describeMarks(names),
      );

    if (drawn.size === 0) {
      report.info('every generated secret has a value; none is ever overwritten');
      return tell([]);
    }
    if (stores.length > 0) {
      const puts = putsFor(secrets, drawn);
      await refuseUnstorable(puts);
      await putAll(puts, change);
      report.info('next: npx tsx scripts/server/fetch-secrets.ts, where the app runs');
      return tell([]);
    }
    const values = new Map([...secrets.values, ...drawn]);
    const made = makeFile(file, template, { ...secrets, values }, { from: 'the template' });
    await change(`write ${file.path}`, [...drawn.keys()], () =>
      rewriteHostFile(host, file.path, file.text, made.text),
    );
    tell(dryRun ? [] : await tellStale(host, settings, report));
  },
});
