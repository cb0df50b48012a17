import { flag } from '../../lib/definition.ts';
import { buildSettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Build the images of the app from a commit, and push them under its version',
  step: 'Build the image',
  example: 'npx tsx scripts/deploy/build-image.ts 1.2.0',
  settings: buildSettings,
  targetless: true,
  operands: {
    '[version]': 'the version; unless told that of the tag at the commit, or else the commit alone',
  },
  flags: { allowDirty: flag('--allow-dirty', 'build what is not committed too; the tags say so') },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, operands, host, report, json, dryRun } = context;
    const { checkAll } = await import('../../lib/failure.ts');
    const { builderOf, refuseEmptyContext, refusePlatform } = await import('../../lib/deploy/build-image.ts');
    const { identify, pairs } = await import('../../lib/deploy/build-image.ts');
    const { makeLogins } = await import('../../lib/deploy/registry.ts');
    const { publishAll } = await import('../../lib/deploy/build-image.ts');
    const { IMAGE_PLATFORM: platform, AWS_REGION: region } = settings;

    const builds = pairs(settings.IMAGE, settings.BUILD_CONTEXT);
    const builder = await builderOf(host);
    await checkAll([
      () => refusePlatform(builder, platform),
      ...builds.map((one) => () => refuseEmptyContext(one)),
    ]);
    const identity = await identify(host, operands[0], flags.allowDirty === true);

    const logins = makeLogins(host);
    context.defer(() => logins.remove());
    const order = { identity, builder, platform, logins, region };
    const pushed = await publishAll(builds, order, context);
    if (dryRun) return;
    report.output('image', pushed.map(({ image }) => image).join(','));
    report.output('version', identity.tags[0]);
    const { commit } = identity;
    report.data(
      json
        ? JSON.stringify({ version: identity.tags[0], commit, images: pushed })
        : pushed.map(({ image }) => image).join('\n'),
    );
  },
});
