import { flag } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: 'Store the secrets of an env file in Secrets Manager or Parameter Store',
  step: 'Push secrets',
  example: 'npx tsx scripts/server/push-secrets.ts production.env',
  settings: secretsSettings,
  flags: { prune: flag('--prune', 'remove from the store what the file does not have') },
  operands: { '[file]': 'the env file, relative to APP_DIR; SECRETS_FILE unless told' },
  changes: true,
  reports: true,
  asks: true,
  async run(context) {
    const { settings, flags, operands, report, host, change, confirm, json } = context;
    const { needFile, readTemplate } = await import('../../lib/server/secrets.ts');
    const { needAddresses, readSecrets } = await import('../../lib/server/secrets.ts');
    const { openStores } = await import('../../lib/server/secret-stores.ts');
    const { putAll, putsFor, refuseEmptyValues, refuseUnstorable, tellLeft } = await import(
      '../../lib/server/secret-stores.ts'
    );
    const { changedNames, describeMarks, marks } = await import('../../lib/server/env-template.ts');
    const { askedFor } = await import('../../lib/server/env-template.ts');
    const { Secret } = await import('../../lib/secret.ts');

    const addresses = needAddresses(settings.SECRETS_FROM);
    const file = await needFile(host, { ...settings, SECRETS_FILE: operands[0] ?? settings.SECRETS_FILE });
    const template = await readTemplate(host, settings);
    const asked = template && askedFor(template).all;
    const texts = new Map([...file.entries].filter(([name]) => !asked || asked.has(name)));
    refuseEmptyValues(texts, file.path);
    const pushed = new Map([...texts].map(([name, text]) => [name, new Secret(text)]));

    const secrets = await readSecrets(await openStores(addresses, settings.AWS_REGION));
    const stored = [...secrets.values.keys(), ...secrets.unfit.keys()];
    const onlyStored = stored.filter((name) => !pushed.has(name));
    const noSecrets = [...file.entries.keys()].filter((name) => !texts.has(name));
    tellLeft(report, { onlyStored: flags.prune ? [] : onlyStored, noSecrets });
    const after = new Map([...secrets.values, ...pushed]);
    if (flags.prune) for (const name of onlyStored) after.delete(name);
    const all = marks(secrets.values, after);
    report.data(json ? JSON.stringify({ names: Object.fromEntries(all) }) : describeMarks(all));

    const names = changedNames(all);
    const set = new Map([...pushed].filter(([name]) => names.includes(name)));
    const puts = putsFor(secrets, set, flags.prune ? onlyStored : []);
    if (puts.length === 0) return report.info('everything is stored as the file has it');
    await refuseUnstorable(puts);
    await confirm(`Change ${names.join(', ')} in ${puts.map(({ store }) => store.uri).join(' and ')}?`);
    await putAll(puts, change);
  },
});
