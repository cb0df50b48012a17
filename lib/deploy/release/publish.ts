import { EXIT, Failure } from '../../failure.ts';
import type { Context } from '../../script.ts';
import type { Values } from '../../settings.ts';
import { notes, parseChangelog } from './changelog.ts';
import { createRelease, findRelease, releaseRequest, repositoryOf } from './github.ts';
import { readChangelog } from './plan.ts';
import type { githubSettings } from './settings.ts';
import { parseVersion } from './version.ts';

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
