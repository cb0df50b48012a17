import { type Context, flag } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import type { EnvFile, MadeFile } from '../../lib/server/env-template.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: "Write the app's env file from its secrets in Secrets Manager or Parameter Store",
  step: 'Fetch secrets',
  example: 'npx tsx scripts/server/fetch-secrets.ts --check',
  settings: secretsSettings,
  flags: {
    check: flag(
      '--check',
      'write nothing; exit 3 when store, file and running containers differ (names only)',
    ),
    prune: flag('--prune', 'remove from the file what neither the template nor the store knows'),
  },
  changes: true,
  reports: true,
  lock: 'secrets',
  async run(context) {
    const { settings: s, flags, host, change, report, json, dryRun } = context;
    const { namesOf, needStores, readSecrets, urisOf } = await import('../../lib/server/secret-stores.ts');
    const { makeFile, readEnvFile, readTemplate } = await import('../../lib/server/env-template.ts');
    const { Failure } = await import('../../lib/failure.ts');
    const { rewriteHostFile } = await import('../../lib/host-files.ts');
    const { warnOfStale } = await import('../../lib/server/stale.ts');

    const stores = await needStores(s);
    const old = await readEnvFile(host, s);
    const template = await readTemplate(host, s);
    const from = urisOf(stores);
    const secrets = await report.step(`read ${from}`, () => readSecrets(stores));
    // An empty file would be made of a mistake.
    if (namesOf(secrets).length === 0)
      throw new Failure(`${from}: there are no secrets`, {
        next: 'correct SECRETS_FROM and AWS_REGION, or fill it: push-secrets or generate-secrets',
      });
    const next = makeFile(old, template, secrets, flags.prune);
    if (flags.check) return check(context, old, next);

    const { changed, byName, list } = next.marks;
    if (next.unused.length > 0)
      report.info(`stored, but not asked for by the template: ${next.unused.join(', ')}`);
    if (next.kept.length > 0)
      report.info(`only in the file, and kept (--prune removes them): ${next.kept.join(', ')}`);
    if (!json) report.data(list);
    if (next.isCurrent) report.info(`${old.path} is as it should be`);
    else
      await change(`write ${old.path}`, changed, async (step) => {
        await rewriteHostFile(host, old.path, old.text, next.text);
        step.note(changed.length > 0 ? `changed: ${changed.join(', ')}` : 'no value changed');
      });
    const recreate = dryRun ? [] : await warnOfStale(host, s, report);
    if (json) report.data(JSON.stringify({ file: old.path, names: byName, recreate }));
  },
});

/** Reports what differs between the stores, the file and the running containers. @throws Failure with exit 3 if something does */
async function check(
  {
    settings,
    host,
    report,
    json,
  }: Pick<Context<typeof secretsSettings>, 'settings' | 'host' | 'report' | 'json'>,
  { path, entries, open }: EnvFile,
  { marks }: MadeFile,
): Promise<void> {
  const { recreateCommand, runningContainers, staleServices } = await import('../../lib/server/stale.ts');
  const { EXIT, Failure } = await import('../../lib/failure.ts');
  const { count, table } = await import('../../lib/format.ts');

  const inFile = [
    ...(open ? [['(mode)', 'users other than its owner may read it']] : []),
    ...marks.changed.map((name) => [
      name,
      entries.has(name) ? 'differs from the store' : 'is not in the file',
    ]),
  ];
  const containers = await runningContainers(host, settings);
  const inContainers = containers.flatMap(({ service, stale }) =>
    stale.map((name) => [service, name, 'the container has a different value']),
  );
  const rows = [...inFile.map((row) => [path, ...row]), ...inContainers];
  const drift = rows.map(([where, name, what]) => ({ where, name, what }));
  if (json) report.data(JSON.stringify({ file: path, drift }));
  else if (rows.length > 0) report.data(table([['where', 'name', 'what'], ...rows]));
  else report.data('the store, the file and the containers agree');

  if (rows.length === 0) return;
  throw new Failure(`${count(rows.length, 'difference')} between the store, the file and the containers`, {
    exit: EXIT.problem,
    next:
      inFile.length > 0
        ? 'run fetch-secrets without --check'
        : recreateCommand(host, settings, staleServices(containers)),
  });
}
