import { readFileSync, writeFileSync } from 'node:fs';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { count } from '../format.ts';
import type { Values } from '../settings.ts';
import { cmd, type Host } from '../shell.ts';
import {
  type Changelog,
  compareVersions,
  isEmpty,
  notes,
  parseChangelog,
  parseVersion,
  released,
  tagOf,
} from './changelog.ts';
import { answer, git, pageOf, refuseDirty, refuseElsewhere, remoteRefs } from './git.ts';
import { createRelease, findRelease, releaseRequest, repositoryOf } from './github.ts';
import type { githubSettings } from './settings.ts';

const CHANGELOG = 'CHANGELOG.md';

/** A release as it is going to be: everything that was looked at, and nothing done yet. */
export interface Plan {
  version: string;
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

/** Looks at all that a release needs. @throws Problems that name everything that is in its way */
export async function planRelease(host: Host, version: string, branch: string, now: Date): Promise<Plan> {
  await refuseElsewhere(host);
  const tag = tagOf(version);
  const remote = (await answer(host, 'config', `branch.${branch}.remote`)) ?? 'origin';
  const page = pageOf((await answer(host, 'config', `remote.${remote}.url`)) ?? '');
  const was = readChangelog();
  let becomes = '';
  let text = '';
  let there = '';
  await checkAll([
    () => {
      const changelog = parseChangelog(was);
      refuseUnfit(changelog, version);
      becomes = released(changelog, { version, date: now.toISOString().slice(0, 10), page });
      text = notes(changelog, changelog.unreleased);
    },
    () => refuseDirty(host, 'commit it, stash it, or have git ignore it'),
    () => refuseOtherBranch(host, branch),
    () => refuseNameless(host),
    async () => {
      there = await refuseBehindOrTagged(host, { remote, branch, tag });
    },
  ]);
  const before = (await answer(host, 'rev-parse', 'HEAD')) ?? '';
  const ahead = Number(await answer(host, 'rev-list', '--count', `${there}..HEAD`));
  return { version, tag, branch, remote, before, ahead, was, becomes, notes: text };
}

function refuseUnfit(changelog: Changelog, version: string): void {
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
}

async function refuseOtherBranch(host: Host, branch: string): Promise<void> {
  const current = await answer(host, 'symbolic-ref', '--quiet', '--short', 'HEAD');
  if (current === branch) return;
  const where = current === undefined ? 'no branch is checked out' : `the branch is ${current}`;
  throw new Failure(`${where}, releases are made on ${branch}`, {
    next: `git switch ${branch}, or say --branch`,
  });
}

async function refuseNameless(host: Host): Promise<void> {
  await host.run(cmd`git var GIT_COMMITTER_IDENT`).catch((cause: unknown) => {
    throw new Failure('git does not know who you are', {
      next: 'git config user.name and user.email',
      cause,
    });
  });
}

/** What the remote's branch is at. @throws Problems when it is ahead of us, or the tag is somewhere */
async function refuseBehindOrTagged(
  host: Host,
  { remote, branch, tag }: { remote: string; branch: string; tag: string },
): Promise<string> {
  const [branchRef, tagRef] = [`refs/heads/${branch}`, `refs/tags/${tag}`];
  const refs = await remoteRefs(host, remote, branchRef, tagRef);
  const there = refs.get(branchRef) ?? '';
  await checkAll([
    () => {
      if (refs.has(tagRef))
        throw new Failure(`${remote} has the tag ${tag} already`, { next: 'release a higher version' });
    },
    async () => {
      if (refs.has(tagRef) || (await answer(host, 'rev-parse', '--quiet', '--verify', tagRef)) === undefined)
        return;
      throw new Failure(`the tag ${tag} is here already, and ${remote} does not have it`, {
        next: `look at it: git show ${tag}; to finish: git push --atomic ${remote} ${branch} ${tag}; to start again: git tag -d ${tag}`,
      });
    },
    async () => {
      if (there === '')
        throw new Failure(`${remote} has no branch ${branch}`, {
          next: `git push --set-upstream ${remote} ${branch}`,
        });
      if (await contains(host, there)) return;
      throw new Failure(`${remote} has commits on ${branch} that are not here`, {
        next: `git pull --ff-only ${remote} ${branch}`,
      });
    },
  ]);
  return there;
}

/** Whether HEAD has a commit of the remote in its history; one that was never fetched it cannot have. */
async function contains(host: Host, commit: string): Promise<boolean> {
  const known = await host.run(cmd`git cat-file -t ${commit}`).catch(() => undefined);
  return (
    known !== undefined && (await answer(host, 'merge-base', '--is-ancestor', commit, 'HEAD')) !== undefined
  );
}

/** The plan for whoever watches: what is released, from where, to where. */
export function describePlan({ version, tag, branch, remote, ahead, notes: text }: Plan): string {
  const pushed = ahead === 0 ? '' : `, with ${count(ahead, 'commit')} that ${remote} does not have yet`;
  return `${version}: ${branch} and ${tag} to ${remote}${pushed}\n\n${text}`;
}

type Work = Pick<Context, 'change' | 'host' | 'report'>;

/** Commit, annotated tag, and push of both at once; what fails or is interrupted before the push was accepted is taken back. */
export async function cutRelease(plan: Plan, work: Work): Promise<void> {
  const { change, host } = work;
  const { version, tag, branch, remote } = plan;
  const commit = git('commit', '--quiet', '--message', `Release ${version}`, '--', CHANGELOG);
  // The whitespace mode: git's own would take headings, which begin with #, for comments.
  const annotate = git('tag', '--annotate', '--cleanup=whitespace', '--file=-', tag);
  const push = git('push', '--quiet', '--atomic', remote, `refs/heads/${branch}`, `refs/tags/${tag}`);
  try {
    await change(`commit and tag ${tag}`, [`write ${CHANGELOG}`, commit, annotate], async () => {
      writeFileSync(CHANGELOG, plan.becomes);
      await host.run(commit);
      await host.run(annotate, `${version}\n\n${plan.notes}\n`);
    });
  } catch (error) {
    await takeBack(plan, work);
    throw error;
  }
  try {
    // To its end: of a push that was cut short nobody knows whether it arrived.
    await change(`push ${branch} and ${tag} to ${remote}`, [push], () => host.uninterrupted.run(push));
  } catch (error) {
    await settle(error, plan, work);
  }
}

/** After a push that failed: done if the remote has it all the same, taken back if not, kept if nobody can say. */
async function settle(error: unknown, plan: Plan, work: Work): Promise<void> {
  const { tag, branch, remote, before } = plan;
  const host = work.host.uninterrupted;
  let there: string | undefined;
  try {
    there = (await remoteRefs(host, remote, `refs/tags/${tag}`)).get(`refs/tags/${tag}`);
  } catch {
    throw new Failure(
      `${messageOf(error)}; whether ${remote} has taken ${tag} is not known, so both are kept here`,
      {
        next: `when ${remote} answers: git push --atomic ${remote} ${branch} ${tag}; or to take them back: git tag -d ${tag} && git reset --keep ${before}`,
        cause: error,
      },
    );
  }
  if (there !== undefined && there === (await answer(host, 'rev-parse', `refs/tags/${tag}`))) {
    work.report.warn(`${remote} has taken ${tag}, though the push said: ${messageOf(error)}`);
    return;
  }
  await takeBack(plan, work);
  throw error;
}

/** Removes the tag and the commit, and puts the changelog back; whatever else is in the checkout stays. */
async function takeBack({ tag, branch, before, was }: Plan, { host, report }: Work): Promise<void> {
  const clean = host.uninterrupted;
  if ((await answer(clean, 'rev-parse', '--quiet', '--verify', `refs/tags/${tag}`)) !== undefined)
    await clean.run(git('tag', '--delete', tag));
  if ((await answer(clean, 'rev-parse', 'HEAD')) !== before)
    await clean.run(git('update-ref', `refs/heads/${branch}`, before, 'HEAD'));
  writeFileSync(CHANGELOG, was);
  await clean.run(git('reset', '--quiet', '--', CHANGELOG));
  report.info('the commit and the tag were taken back: everything here is as it was');
}

/** @throws Failure with exit 2 when no version is named, or what is named is none */
export function versionOf(operand: string | undefined): string {
  if (operand !== undefined) return parseVersion(operand);
  throw new Failure('no version is named', {
    exit: EXIT.usage,
    next: 'npx tsx scripts/deploy/release.ts 1.2.0',
  });
}

/** What CHANGELOG.md says of a version; of the newest unless told. */
export function notesOf(operand: string | undefined): { version: string; notes: string } {
  const changelog = parseChangelog(readChangelog());
  const wanted = operand === undefined ? changelog.released[0]?.version : parseVersion(operand);
  const section = changelog.released.find(({ version }) => version === wanted);
  if (!section) {
    const versions = changelog.released.map(({ version }) => version);
    throw new Failure(`CHANGELOG.md has no section of ${wanted ?? 'any version'}`, {
      next: versions.length > 0 ? `it has ${versions.slice(0, 5).join(', ')}` : 'release one first',
    });
  }
  return { version: section.version, notes: notes(changelog, section) };
}

/** The release on GitHub: the last step, for whoever watches the repository takes it for what runs. */
export async function publish(
  version: string,
  context: Pick<Context, 'change' | 'host' | 'json' | 'report' | 'signal'> & {
    settings: Values<typeof githubSettings>;
  },
): Promise<void> {
  const { report, json } = context;
  const { notes: text } = notesOf(version);
  const repository = await repositoryOf(context.settings, context);
  const existing = await findRelease(repository, version);
  if (existing) report.info(`= ${repository.name} has the release ${version} already`);
  const request = `POST /repos/${repository.name}/releases ${JSON.stringify(releaseRequest(version, text))}`;
  const made =
    existing ??
    (await context.change(`release ${version} on GitHub`, [request], () =>
      createRelease(repository, version, text),
    ));
  if (!made) return;
  report.output('release-url', made.html_url);
  report.data(json ? JSON.stringify({ version, url: made.html_url }) : made.html_url);
}
