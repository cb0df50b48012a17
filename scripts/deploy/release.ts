import { flag, option } from '../../lib/definition.ts';
import { githubSettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Make a version of what is unreleased: changelog, commit, annotated tag, push',
  step: 'Release',
  example: 'npx tsx scripts/deploy/release.ts 1.2.0',
  settings: githubSettings,
  targetless: true,
  operands: { '[version]': 'the version, such as 1.2.0 or 1.2.0-rc.1; with --notes the newest unless told' },
  flags: {
    branch: option<string>('--branch <name>', 'releases are made on it, unless told on main'),
    notes: flag('--notes', "print the version's section of CHANGELOG.md, and do nothing else"),
    github: flag('--github', 'make the release on GitHub of a version that is tagged and was seen to work'),
  },
  changes: true,
  reports: true,
  async run(context) {
    const { flags, operands, host, report, json } = context;
    const { notesOf, publish, versionOf } = await import('../../lib/deploy/release.ts');

    if (flags.notes) {
      const { version, notes } = notesOf(operands[0]);
      return report.data(json ? JSON.stringify({ version, notes }) : notes);
    }
    const version = versionOf(operands[0]);
    if (flags.github) return publish(version, context);

    const { cutRelease } = await import('../../lib/deploy/release.ts');
    const { describePlan, planRelease } = await import('../../lib/deploy/release.ts');
    const plan = await planRelease(host, version, flags.branch ?? 'main', new Date());
    report.summary(describePlan(plan));
    await cutRelease(plan, context);
    if (context.dryRun) return;
    report.output('version', version);
    report.output('tag', plan.tag);
    report.info(`when it is deployed and verified: npx tsx scripts/deploy/release.ts --github ${version}`);
    report.data(json ? JSON.stringify({ version, tag: plan.tag, branch: plan.branch }) : version);
  },
});
