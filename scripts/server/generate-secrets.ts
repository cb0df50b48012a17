import { script } from '../../lib/script.ts';
import type { EnvFile } from '../../lib/server/env-template.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';
import type { Secrets } from '../../lib/server/secret-stores.ts';

await script(import.meta, {
  does: 'Generate the secrets that the template asks for and that have no value yet',
  step: 'Generate secrets',
  example: 'npx tsx scripts/server/generate-secrets.ts',
  settings: secretsSettings,
  changes: true,
  reports: true,
  lock: 'secrets',
  async run({ settings: s, report, host, change, dryRun, json }) {
    const { askedFor, draw, generators, makeFile, marks, readEnvFile, readTemplate } = await import(
      '../../lib/server/env-template.ts'
    );
    const { openStores, planPuts, putAll, readSecretsOrFile } = await import(
      '../../lib/server/secret-stores.ts'
    );
    const { EXIT, Failure } = await import('../../lib/failure.ts');
    const { rewriteHostFile } = await import('../../lib/host-files.ts');
    const { warnOfStale } = await import('../../lib/server/stale.ts');

    const template = await readTemplate(host, s);
    if (!template)
      throw new Failure(`${s.APP_DIR}/.env.template is not there`, {
        exit: EXIT.usage,
        next: 'write one (docs/secrets.md), or name it: SECRETS_TEMPLATE',
      });
    const file = await readEnvFile(host, s);
    const stores = await openStores(s);
    const hasStore = stores.length > 0;
    const secrets = await readSecretsOrFile(stores, file.entries, askedFor(template).all);
    const generated = generators(template);
    const missing = [...generated].filter(([name]) => !secrets.values.has(name));
    const drawn = new Map(missing.map(([name, generator]) => [name, draw(generator)]));
    if (hasStore) await refuseOverwriting([...drawn.keys()], file, secrets);

    let recreate: readonly string[] = [];
    if (drawn.size === 0) report.info('every generated secret has a value; none is ever overwritten');
    else if (hasStore) {
      await putAll(await planPuts(secrets, drawn), change);
      report.info('next: npx tsx scripts/server/fetch-secrets.ts, where the app runs');
    } else {
      const made = makeFile(file, template, { ...secrets, values: new Map([...secrets.values, ...drawn]) });
      await change(`write ${file.path}`, [...drawn.keys()], () =>
        rewriteHostFile(host, file.path, file.text, made.text),
      );
      if (!dryRun) recreate = await warnOfStale(host, s, report);
    }
    const all = [...generated.keys()].map((name) => [name, ''] as const);
    const { byName, list } = marks(new Map(all.filter(([name]) => !drawn.has(name))), new Map(all));
    report.data(json ? JSON.stringify({ names: byName, recreate }) : list);
  },
});

/**
 * A value that only the file has is in use: another one in the store would lock the app out at the next fetch.
 * @throws Problems naming them, and what the store has under a name and is not a text
 */
async function refuseOverwriting(
  names: readonly string[],
  { path, entries }: EnvFile,
  { unfit }: Secrets,
): Promise<void> {
  const { Failure, throwAll } = await import('../../lib/failure.ts');
  const used = names.filter((name) => entries.get(name));
  const wrong = names.flatMap((name) => unfit.get(name) ?? []);
  throwAll([
    ...used.map(
      (name) =>
        new Failure(`${name} has a value in ${path}, and none in the store`, {
          next: 'store that value: push-secrets',
        }),
    ),
    ...wrong.map((message) => new Failure(message, { next: 'remove it there, or correct it' })),
  ]);
}
