import { flag } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: 'Store the secrets of an env file in Secrets Manager or Parameter Store',
  step: 'Push secrets',
  example: 'npx tsx scripts/server/push-secrets.ts production.env',
  settings: secretsSettings,
  flags: { prune: flag('--prune', 'remove from the store what the file does not have') },
  operands: { '[file]': 'the env file, relative to APP_DIR (default: SECRETS_FILE)' },
  changes: true,
  reports: true,
  asks: true,
  async run({ settings: s, flags, operands, report, host, change, confirm, json }) {
    const { askedFor, marks, needEnvFile, readTemplate } = await import('../../lib/server/env-template.ts');
    const { namesOf, needStores, planPuts, putAll, readSecrets, urisOf } = await import(
      '../../lib/server/secret-stores.ts'
    );
    const { Failure, throwAll } = await import('../../lib/failure.ts');
    const { Secret } = await import('../../lib/secret.ts');

    const stores = await needStores(s);
    const file = await needEnvFile(host, { ...s, SECRETS_FILE: operands[0] ?? s.SECRETS_FILE });
    const template = await readTemplate(host, s);
    const asked = template ? askedFor(template).all : new Set(file.entries.keys());
    const texts = [...file.entries].filter(([name]) => asked.has(name));
    // fetch-secrets would refuse them.
    const empty = texts.filter(([, text]) => text === '').map(([name]) => `${file.path}: ${name} is empty`);
    throwAll(empty.map((message) => new Failure(message, { next: 'give it a value, or remove the line' })));
    const pushed = new Map(texts.map(([name, text]) => [name, new Secret(text)]));

    const secrets = await readSecrets(stores);
    const onlyStored = namesOf(secrets).filter((name) => !pushed.has(name));
    const noSecrets = [...file.entries.keys()].filter((name) => !asked.has(name));
    if (onlyStored.length > 0 && !flags.prune)
      report.info(`only stored, and kept (--prune removes them): ${onlyStored.join(', ')}`);
    if (noSecrets.length > 0)
      report.info(`not pushed, since the template does not ask the store for them: ${noSecrets.join(', ')}`);
    const after = new Map([...secrets.values, ...pushed]);
    if (flags.prune) for (const name of onlyStored) after.delete(name);
    const { byName, changed, list } = marks(secrets.values, after);
    report.data(json ? JSON.stringify({ names: byName }) : list);

    const set = new Map([...pushed].filter(([name]) => changed.includes(name)));
    const puts = await planPuts(secrets, set, flags.prune ? onlyStored : []);
    if (puts.length === 0) return report.info('everything is stored as the file has it');
    await confirm(`Change ${changed.join(', ')} in ${urisOf(puts.map(({ store }) => store))}?`);
    await putAll(puts, change);
  },
});
