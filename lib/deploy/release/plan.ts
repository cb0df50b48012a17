import { readFileSync } from 'node:fs';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { count } from '../../format.ts';
import type { Host } from '../../host.ts';
import { type Changelog, isEmpty, notes, parseChangelog } from './changelog.ts';
import { released } from './edit.ts';
import { answer, pageOf, refuseDirty, refuseElsewhere, remoteRefs } from './git.ts';
import { compareVersions, tagOf } from './version.ts';

export const CHANGELOG = 'CHANGELOG.md';

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
export function readChangelog(): string {
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
  await host.run({ argv: ['git', 'var', 'GIT_COMMITTER_IDENT'] }).catch((cause: unknown) => {
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
  const known = await host.run({ argv: ['git', 'cat-file', '-t', commit] }).catch(() => undefined);
  return (
    known !== undefined && (await answer(host, 'merge-base', '--is-ancestor', commit, 'HEAD')) !== undefined
  );
}

/** The plan for whoever watches: what is released, from where, to where. */
export function describePlan({ version, tag, branch, remote, ahead, notes: text }: Plan): string {
  const pushed = ahead === 0 ? '' : `, with ${count(ahead, 'commit')} that ${remote} does not have yet`;
  return `${version}: ${branch} and ${tag} to ${remote}${pushed}\n\n${text}`;
}
