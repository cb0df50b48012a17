import { writeFileSync } from 'node:fs';
import { Failure, messageOf } from '../../failure.ts';
import type { Context } from '../../script.ts';
import { answer, git, remoteRefs } from './git.ts';
import { CHANGELOG, type Plan } from './plan.ts';

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
