import { buildSettings } from '../../lib/deploy/image/settings.ts';
import { flag, script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Build the images of the app from a commit, and push them under its version',
  step: 'Build the image',
  example: 'npx tsx scripts/deploy/build-image.ts 1.2.0',
  settings: buildSettings,
  operands: {
    '[version]': 'the version; unless told that of the tag at the commit, or else the commit alone',
  },
  flags: { allowDirty: flag('--allow-dirty', 'build what is not committed too; the tags say so') },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, operands, host, report, json, dryRun } = context;
    const { checkAll } = await import('../../lib/failure.ts');
    const { builderOf, refuseEmptyContext, refusePlatform } = await import('../../lib/deploy/image/build.ts');
    const { identify, pairs } = await import('../../lib/deploy/image/identity.ts');
    const { makeLogins } = await import('../../lib/deploy/image/registry.ts');
    const lib = await import('../../lib/deploy/image/publish.ts');
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
    for (const one of builds) await lib.logIn(one, order, context);
    const before = await Promise.all(builds.map((one) => lib.pushedBefore(one, order, context)));
    // All are built before the first is pushed: of a version that does not build, nothing is in a registry.
    for (const [i, one] of builds.entries())
      if (!before[i]?.all) await lib.obtain(one, before[i] ?? {}, order, context);
    const pushed = [];
    for (const [i, one] of builds.entries()) {
      const all = before[i]?.all;
      if (all) report.info(`= ${all.image} is pushed already`);
      const done = all ?? (await lib.pushAll(one, order, context));
      if (done) pushed.push(done);
    }
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
