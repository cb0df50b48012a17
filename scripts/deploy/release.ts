import { readFileSync, writeFileSync } from 'node:fs';
import { type Context, flag, option } from '../../lib/definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../../lib/failure.ts';
import { count } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';
import { optionalSetting, secret, setting, type Values } from '../../lib/settings.ts';
import type { Host } from '../../lib/shell.ts';

/** The settings by which GitHub is reached; the names, and in its workflows the values, are GitHub's own. */
const githubSettings = {
  GITHUB_TOKEN: optionalSetting('GITHUB_TOKEN', {
    about: 'a token that may write the contents of the repository; for release --github alone',
    example: 'ghp_0123456789abcdef0123456789abcdef0123',
    sensitive: true,
    type: secret,
  }),
  GITHUB_REPOSITORY: optionalSetting('GITHUB_REPOSITORY', {
    about: 'the repository on GitHub; default: that of the remote origin',
    example: 'example/drawing-agent',
    type: (z) => z.string().regex(/^[\w.-]+\/[\w.-]+$/, 'is not owner/name'),
  }),
  GITHUB_API_URL: setting('GITHUB_API_URL', {
    about: "the address of GitHub's API",
    example: 'https://github.example.org/api/v3',
    default: 'https://api.github.com',
    type: (z) => z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }),
  }),
};

const CHANGELOG = 'CHANGELOG.md';

await script(import.meta, {
  does: 'Make a version of what is unreleased: changelog, commit, annotated tag, push',
  step: 'Release',
  example: 'npx tsx scripts/deploy/release.ts 1.2.0',
  settings: githubSettings,
  targetless: true,
  operands: {
    '[version]': 'the version, such as 1.2.0 or 1.2.0-rc.1; with --notes it may be left out: the newest',
  },
  flags: {
    branch: option<string>('--branch <name>', 'the release branch (default: main)'),
    notes: flag('--notes', "print the version's section of CHANGELOG.md, and do nothing else"),
    github: flag('--github', 'make the release on GitHub of a version that is tagged and was seen to work'),
  },
  changes: true,
  reports: true,
  async run(context) {
    const { flags, operands, host, cmd, change, report, json } = context;
    const { parseVersion } = await import('../../lib/deploy/changelog.ts');
    const { git } = await import('../../lib/deploy/git.ts');

    const [named] = operands;
    const version = named === undefined ? undefined : parseVersion(named);
    if (flags.notes) {
      const { version: of, notes } = await notesOf(version);
      return report.data(json ? JSON.stringify({ version: of, notes }) : notes);
    }
    if (version === undefined)
      throw new Failure('no version is named', {
        exit: EXIT.usage,
        next: 'npx tsx scripts/deploy/release.ts 1.2.0',
      });
    if (flags.github) return publish(version, context);

    const plan = await planRelease(host, version, flags.branch ?? 'main');
    const { tag, branch, remote } = plan;
    const ahead =
      plan.ahead === 0 ? '' : `, with ${count(plan.ahead, 'commit')} that ${remote} does not have yet`;
    report.summary(`${version}: ${branch} and ${tag} to ${remote}${ahead}\n\n${plan.notes}`);

    const commit = cmd`${git} commit --quiet --message ${`Release ${version}`} -- ${CHANGELOG}`;
    // The whitespace mode: git's own would take headings, which begin with #, for comments.
    const annotate = cmd`${git} tag --annotate --cleanup=whitespace --file=- ${tag}`;
    const push = cmd`${git} push --quiet --atomic ${remote} ${[`refs/heads/${branch}`, `refs/tags/${tag}`]}`;
    try {
      await change(`commit and tag ${tag}`, [`write ${CHANGELOG}`, commit, annotate], async () => {
        writeFileSync(CHANGELOG, plan.becomes);
        await host.run(commit);
        await host.run(annotate, `${version}\n\n${plan.notes}\n`);
      });
    } catch (error) {
      await undo(plan, context);
      throw error;
    }
    try {
      // To its end: of a push that was cut short nobody knows whether it arrived.
      await change(`push ${branch} and ${tag} to ${remote}`, [push], () => host.uninterrupted.run(push));
    } catch (error) {
      await settle(error, plan, context);
    }
    if (context.dryRun) return;

    report.output('version', version);
    report.output('tag', tag);
    report.info(`when it is deployed and verified: npx tsx scripts/deploy/release.ts --github ${version}`);
    report.data(json ? JSON.stringify({ version, tag, branch }) : version);
  },
});

/** A release as it is going to be: everything that was checked, and nothing done yet. */
interface Plan {
  tag: string;
  branch: string;
  remote: string;
  /** The commit that the release is made on. */
  before: string;
  /** Commits of the branch that the remote does not have, and gets with the release. */
  ahead: number;
  /** The changelog as it was, and as it becomes. */
  was: string;
  becomes: string;
  notes: string;
}

/** Checks all that a release needs. @throws Problems that name everything that is in its way */
async function planRelease(host: Host, version: string, branch: string): Promise<Plan> {
  const { tagOf } = await import('../../lib/deploy/changelog.ts');
  const { answer, changedFiles, git } = await import('../../lib/deploy/git.ts');
  const { pageOf } = await import('../../lib/deploy/github.ts');
  const { $ } = host;
  await refuseElsewhere(host);
  const tag = tagOf(version);
  const remote = (await answer($`${git} config ${`branch.${branch}.remote`}`)) ?? 'origin';
  const page = pageOf((await answer($`${git} config ${`remote.${remote}.url`}`)) ?? '');
  const was = readChangelog();
  const plan = { tag, branch, remote, was, becomes: '', notes: '' };
  let there = '';
  await checkAll([
    async () => Object.assign(plan, await releasedChangelog(was, version, page)),
    async () => {
      const changed = await changedFiles(host);
      const more = changed.length > 3 ? ` and ${changed.length - 3} more` : '';
      if (changed.length > 0)
        throw new Failure(`not committed: ${changed.slice(0, 3).join(', ')}${more}`, {
          next: 'commit it, stash it, or have git ignore it',
        });
    },
    async () => {
      const current = await answer($`${git} symbolic-ref --quiet --short HEAD`);
      const where = current === undefined ? 'no branch is checked out' : `the branch is ${current}`;
      if (current !== branch)
        throw new Failure(`${where}, releases are made on ${branch}`, {
          next: `git switch ${branch}, or pass --branch`,
        });
    },
    () =>
      $`git var GIT_COMMITTER_IDENT`.catch((cause: unknown) => {
        const next = 'git config user.name and user.email';
        throw new Failure('git does not know who you are', { next, cause });
      }),
    async () => {
      there = await refuseBehindOrTagged(host, plan);
    },
  ]);
  const before = (await $`${git} rev-parse HEAD`).trim();
  const ahead = Number(await $`${git} rev-list --count ${`${there}..HEAD`}`);
  return { ...plan, before, ahead };
}

/** The changelog with the version in it, and its notes. @throws Failure when there is nothing to release, or no newer */
async function releasedChangelog(was: string, version: string, page: string | undefined) {
  const { compareVersions, isEmpty, notes, parseChangelog, released } = await import(
    '../../lib/deploy/changelog.ts'
  );
  const changelog = parseChangelog(was);
  const [newest] = changelog.released;
  if (isEmpty(changelog, changelog.unreleased))
    throw new Failure(`${CHANGELOG} says nothing under [Unreleased]`, {
      next: 'write what is new for its users',
    });
  if (newest && compareVersions(version, newest.version) <= 0)
    throw new Failure(`${version} is not newer than ${newest.version}, the newest in ${CHANGELOG}`, {
      exit: EXIT.usage,
      next: 'choose a higher one',
    });
  const date = new Date().toISOString().slice(0, 10);
  const becomes = released(changelog, { version, date, page });
  return { becomes, notes: notes(changelog, changelog.unreleased) };
}

/** @throws Failure unless the current directory is the top of a repository */
async function refuseElsewhere({ $ }: Host): Promise<void> {
  const { git } = await import('../../lib/deploy/git.ts');
  const { CommandFailure } = await import('../../lib/command.ts');
  const above = await $`${git} rev-parse --show-cdup`.catch((error: unknown) => {
    if (!(error instanceof CommandFailure) || error.code === null) throw error;
    throw new Failure(`${process.cwd()}: ${error.words.replace(/^fatal: /, '')}`, {
      next: 'run it in the checkout of the app',
      cause: error,
    });
  });
  if (above.trim())
    throw new Failure(`${process.cwd()} is not the top of its repository`, { next: `cd ${above.trim()}` });
}

/** What the remote's branch is at. @throws Problems when it is ahead of us, or the tag exists here or there */
async function refuseBehindOrTagged(
  host: Host,
  { remote, branch, tag }: Pick<Plan, 'remote' | 'branch' | 'tag'>,
): Promise<string> {
  const { answer, git } = await import('../../lib/deploy/git.ts');
  const { $ } = host;
  const [branchRef, tagRef] = [`refs/heads/${branch}`, `refs/tags/${tag}`];
  const refs = await remoteRefs(host, remote, [branchRef, tagRef]);
  const there = refs.get(branchRef) ?? '';
  await checkAll([
    async () => {
      if (refs.has(tagRef))
        throw new Failure(`${remote} has the tag ${tag} already`, { next: 'release a higher version' });
      if ((await answer($`${git} rev-parse --quiet --verify ${tagRef}`)) !== undefined)
        throw new Failure(`the tag ${tag} is here already, and ${remote} does not have it`, {
          next: `inspect it: git show ${tag}; to finish: git push --atomic ${remote} ${branch} ${tag}; to start again: git tag -d ${tag}`,
        });
    },
    async () => {
      if (there === '')
        throw new Failure(`${remote} has no branch ${branch}`, {
          next: `git push --set-upstream ${remote} ${branch}`,
        });
      // A commit that was never fetched cannot be in our history.
      const known = await $`git cat-file -t ${there}`.catch(() => undefined);
      const isOurs = known && (await answer($`${git} merge-base --is-ancestor ${there} HEAD`));
      if (isOurs === undefined)
        throw new Failure(`${remote} has commits on ${branch} that are not here`, {
          next: `git pull --ff-only ${remote} ${branch}`,
        });
    },
  ]);
  return there;
}

/** The objects that the remote has under these refs. @throws Failure when it does not answer */
async function remoteRefs({ $ }: Host, remote: string, refs: string[]): Promise<Map<string, string>> {
  const { git } = await import('../../lib/deploy/git.ts');
  const { CommandFailure } = await import('../../lib/command.ts');
  try {
    const lines = await $`${git} ls-remote ${remote} ${refs}`.lines();
    return new Map(lines.map((line) => line.split('\t').reverse() as [string, string]));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${remote} does not answer: ${error.words.replace(/^fatal: /, '')}`, {
      next: `try it by hand: git ls-remote ${remote}`,
      cause: error,
    });
  }
}

type Work = Pick<Context, 'cmd' | 'host' | 'report'>;

/** After a push that failed: done if the remote has it all the same, undone if not, kept if nobody can say. */
async function settle(error: unknown, plan: Plan, work: Work): Promise<void> {
  const { git } = await import('../../lib/deploy/git.ts');
  const { tag, branch, remote, before } = plan;
  const host = work.host.uninterrupted;
  let there: string | undefined;
  try {
    there = (await remoteRefs(host, remote, [`refs/tags/${tag}`])).get(`refs/tags/${tag}`);
  } catch {
    throw new Failure(
      `${messageOf(error)}; whether ${remote} has taken ${tag} is not known, so both are kept here`,
      {
        next: `when ${remote} answers: git push --atomic ${remote} ${branch} ${tag}; or to undo them: git tag -d ${tag} && git reset --keep ${before}`,
        cause: error,
      },
    );
  }
  if (there !== undefined && there === (await host.$`${git} rev-parse ${`refs/tags/${tag}`}`).trim()) {
    work.report.warn(`${remote} has taken ${tag}, though the push said: ${messageOf(error)}`);
    return;
  }
  await undo(plan, work);
  throw error;
}

/** Removes the tag and the commit, and puts the changelog back; whatever else is in the checkout stays. */
async function undo({ tag, branch, before, was }: Plan, { cmd, host, report }: Work): Promise<void> {
  const { answer, git } = await import('../../lib/deploy/git.ts');
  const { $, run } = host.uninterrupted;
  if ((await answer($`${git} rev-parse --quiet --verify ${`refs/tags/${tag}`}`)) !== undefined)
    await run(cmd`${git} tag --delete ${tag}`);
  if ((await $`${git} rev-parse HEAD`).trim() !== before)
    await run(cmd`${git} update-ref ${`refs/heads/${branch}`} ${before} HEAD`);
  writeFileSync(CHANGELOG, was);
  await run(cmd`${git} reset --quiet -- ${CHANGELOG}`);
  report.info('the commit and the tag were undone: everything here is as it was');
}

/** @throws Failure with exit 2 when there is none */
function readChangelog(): string {
  try {
    return readFileSync(CHANGELOG, 'utf8');
  } catch (error) {
    throw new Failure(`${CHANGELOG}: cannot be read (${(error as NodeJS.ErrnoException).code})`, {
      exit: EXIT.usage,
      next: 'run it at the top of the checkout; the format is that of keepachangelog.com',
    });
  }
}

/** What CHANGELOG.md says of a version; without one, of the newest. */
async function notesOf(version: string | undefined): Promise<{ version: string; notes: string }> {
  const { notes, parseChangelog } = await import('../../lib/deploy/changelog.ts');
  const changelog = parseChangelog(readChangelog());
  const { released } = changelog;
  const section = version === undefined ? released[0] : released.find((one) => one.version === version);
  if (section) return { version: section.version, notes: notes(changelog, section) };
  const versions = released.slice(0, 5).map((one) => one.version);
  throw new Failure(`${CHANGELOG} has no section of ${version ?? 'any version'}`, {
    next: versions.length > 0 ? `it has ${versions.join(', ')}` : 'release one first',
  });
}

/** The release on GitHub: the last step, for whoever watches the repository takes it for what runs. */
async function publish(
  version: string,
  context: Pick<Context, '$' | 'change' | 'json' | 'report' | 'signal'> & {
    settings: Values<typeof githubSettings>;
  },
): Promise<void> {
  const { createRelease, findRelease, releaseRequest, repositoryOf } = await import(
    '../../lib/deploy/github.ts'
  );
  const { change, report, json, settings } = context;
  const { notes } = await notesOf(version);
  const repository = await repositoryOf(settings, context);
  const existing = await findRelease(repository, version);
  if (existing) report.info(`= ${repository.name} has the release ${version} already`);
  const request = `POST /repos/${repository.name}/releases ${JSON.stringify(releaseRequest(version, notes))}`;
  const made =
    existing ??
    (await change(`release ${version} on GitHub`, [request], () =>
      createRelease(repository, version, notes),
    ));
  if (!made) return;
  report.output('release-url', made.html_url);
  report.data(json ? JSON.stringify({ version, url: made.html_url }) : made.html_url);
}
