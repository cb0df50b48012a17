import type { Command } from '../../lib/command.ts';
import { type Context, flag, option, repeatable } from '../../lib/definition.ts';
import { deploySettings, newEnvironmentFlag, waitTimeoutFlag } from '../../lib/deploy/settings.ts';
import type { Step } from '../../lib/output.ts';
import { script } from '../../lib/script.ts';
import type { Host } from '../../lib/shell.ts';

await script(import.meta, {
  does: 'Deploy a version: switch to it, see it answer, and roll back by itself if it does not',
  step: 'Deploy a version',
  example: 'npx tsx scripts/deploy/update-deployment.ts 1.4.0 --backup',
  settings: deploySettings,
  operands: { '[version]': 'the tag of each image of IMAGE' },
  flags: {
    image: repeatable(
      '--image <reference>',
      'this image, by tag or digest, instead of a version; one for each of IMAGE',
    ),
    commit: option<string>(
      '--commit <ref>',
      'this commit, tag or branch of the remote of the checkout in APP_DIR, built on the host',
    ),
    backup: flag('--backup', 'take a backup first'),
    diff: flag('--diff', 'show what would change, and stop'),
    newEnvironment: newEnvironmentFlag,
    waitTimeout: waitTimeoutFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  // A version that was switched to is rolled back first, on each host of a fleet.
  graceMs: 600_000,
  async run(context) {
    const { settings, flags, operands, report, change, json } = context;
    const { requestOf } = await import('../../lib/deploy/request.ts');
    const { who } = await import('../../lib/deploy/deployment.ts');
    const { seeAnswers } = await import('../../lib/deploy/health.ts');
    const deploy = await import('../../lib/deploy/deploy.ts');

    // Nothing is changed yet.
    const named = { version: operands[0], images: flags.image, commit: flags.commit };
    const request = requestOf(named, settings.IMAGE);
    const app = await deploy.openApp(context, flags);
    const name = 'commit' in request ? request.commit.slice(0, 12) : request.version;
    if (!flags.diff) await deploy.lockDeployment(context, `update-deployment of ${name}`);
    const backup = flags.backup && !flags.diff ? await backupOf(context) : undefined;
    const found = await deploy.preflight(context, app, () => app.preflight(request), backup?.preflight);
    report.summary(deploy.describeChanges(found));
    if (flags.diff) return;

    // From here on something is changed.
    const { plan, before } = found;
    const command = settings.MIGRATE_COMMAND;
    const id = backup && (await change('back up', [backup.command], backup.take));
    const begun = { who: who(), backup: id, started: Date.now() };
    if (before && found.isAdoptable)
      await change(`remember ${before.version}, which runs now`, [], () => {
        const adopted = { ...before, ...begun, did: 'found', migrated: false, started: Date.now() } as const;
        return app.record(deploy.recordOf(adopted, true));
      });
    const { obtain, migrate, switch: switching } = plan.commands;
    const release = await change(`make ${plan.version} available`, obtain, (step) => plan.obtain(step));
    const migrated = command !== undefined;
    const attempt = { ...release!, ...begun, did: 'update', from: before?.version, migrated } as const;
    if (command)
      await change('migrate', [...migrate, command], () =>
        deploy.migrate(app, attempt, command, (line) => report.info(`  ${line}`)),
      );
    try {
      await change(`switch to ${plan.version}`, switching, (step) => app.switchTo(release!, step));
      await seeAnswers(context, plan);
    } catch (error) {
      throw await deploy.rollBack(context, app, attempt, before, error);
    }
    if (context.dryRun) return;
    const record = await deploy.recordVerified(app, attempt, report);
    report.output('version', record.version);
    report.data(json ? JSON.stringify(record) : `${record.version} runs, and was seen to answer`);
  },
});

/** A backup that a deployment takes: what runs, and where. */
interface Backup {
  command: Command;
  /** @throws Failure that says why no backup could be taken */
  preflight(): Promise<void>;
  /** @returns the id of the backup */
  take(step: Step): Promise<string>;
}

/**
 * The backup of the app where it runs, by the opsbook of its host with that host's settings; by this one where TARGET
 * is this machine, or has no host at all. Of several hosts the first takes it: the app is one.
 */
async function backupOf({ hosts, settings, report, cmd }: Context<typeof deploySettings>): Promise<Backup> {
  const { Failure } = await import('../../lib/failure.ts');
  const opsbook = await import('../../lib/host-opsbook.ts');
  const { streamed } = await import('../../lib/deploy/streamed.ts');

  const [host] = hosts as readonly [Host];
  const here = host.target === 'local';
  const { shared } = opsbook.splitShared(process.argv.slice(2));
  const files = shared.filter((word, i) => !/^--target/.test(word) && shared[i - 1] !== '--target');
  const backup = `${import.meta.dirname}/../backup/backup.ts`;
  const command = (...words: string[]): Command =>
    here
      ? cmd`${process.execPath} ${process.execArgv} ${backup} --target local ${files} ${words}`
      : opsbook.hostOpsbook(settings, 'backup/backup', words);
  const typed = here
    ? 'npx tsx scripts/backup/backup.ts --dry-run'
    : opsbook.typedHostOpsbook(shared, 'backup/backup', ['--dry-run']);
  const next = `try it by itself: ${typed}`;
  const explain = (error: unknown) => {
    throw opsbook.opsbookFailure(error, here ? '--backup: ' : `--backup on ${host.name}: `, next);
  };
  const prefixed = { info: (line: string) => report.info(`${host.name} | ${line}`) };
  return {
    command: command(),
    async preflight() {
      await host.run(command('--dry-run')).catch(explain);
    },
    async take(step) {
      // Here its output is ours: what it says of a step to the terminal or to GitHub would be said twice.
      const running = here ? host.run(command()) : streamed(host, command(), prefixed);
      const id = (await running.catch(explain)).trim().split('\n').at(-1) ?? '';
      if (!/^\d{8}-\d{6}$/.test(id))
        throw new Failure(`--backup: the backup reported no id, but "${id}"`, { next });
      step.note(id);
      return id;
    },
  };
}
