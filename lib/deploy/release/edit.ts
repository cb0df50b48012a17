import { Failure } from '../../failure.ts';
import type { Changelog, Link } from './changelog.ts';
import { tagOf } from './version.ts';

interface Edit {
  version: string;
  /** YYYY-MM-DD */
  date: string;
  /** The page of the repository, where its remote tells it: for a file that has no links yet. */
  page?: string | undefined;
}

/** The file with what is unreleased released: three lines are new, or four, and no other byte is changed. */
export function released(changelog: Changelog, { version, date, page }: Edit): string {
  const lines = [...changelog.lines];
  const { start } = changelog.unreleased;
  const heading = lines[start] ?? '';
  const eol = heading.endsWith('\r') ? '\r' : '';
  const title = heading.includes('[') ? `[${version}]` : version;
  // From the end of the file, so that the indexes before it stay true.
  for (const { line, remove, insert } of linkEdits(changelog, version, page))
    lines.splice(line, remove, ...insert.map((text) => text + eol));
  lines.splice(start + 1, 0, eol, `## ${title} - ${date}${eol}`);
  return lines.join('\n');
}

interface LineEdit {
  line: number;
  remove: number;
  insert: string[];
}

function linkEdits(changelog: Changelog, version: string, page: string | undefined): LineEdit[] {
  const { links, lines } = changelog;
  const link = links.find(({ label }) => label.toLowerCase() === 'unreleased');
  const target = link
    ? linkTarget(link, changelog)
    : page === undefined
      ? undefined
      : { base: page, compare: '/compare/' };
  if (!target) return [];
  const { base, compare } = target;
  const tag = tagOf(version);
  const before = changelog.released[0]?.version;
  const definitions = [
    `[${link?.label ?? 'unreleased'}]: ${base}${compare}${tag}...HEAD`,
    `[${version}]: ${before === undefined ? `${base}/releases/tag/${tag}` : `${base}${compare}${tagOf(before)}...${tag}`}`,
  ];
  if (link) return [{ line: link.line, remove: 1, insert: definitions }];
  const first = links.find(
    ({ line }) => line > (changelog.released.at(-1)?.start ?? changelog.unreleased.start),
  );
  if (first) return [{ line: first.line, remove: 0, insert: definitions }];
  const ended = lines.at(-1) === '';
  return [
    { line: lines.length - (ended ? 1 : 0), remove: 0, insert: ['', ...definitions, ...(ended ? [] : [''])] },
  ];
}

/** Where the link of [Unreleased] leads: the repository's page, and its path for comparisons. */
function linkTarget(
  { url, line }: Link,
  { released }: Changelog,
): { base: string; compare: string } | undefined {
  const [, base, compare, from] = /^(https?:\/\/.+?)(\/(?:-\/)?compare\/)(.+)\.\.\.HEAD$/.exec(url) ?? [];
  if (base === undefined || compare === undefined || from === undefined) {
    // Before the first release there is nothing to compare with.
    const page = /^(https?:\/\/[^/]+\/[^/]+\/[^/]+)/.exec(url)?.[1];
    if (released.length === 0 && page !== undefined) return { base: page, compare: '/compare/' };
    throw wrongLink(line, `${url} does not end in /compare/TAG...HEAD`);
  }
  const newest = released[0]?.version;
  if (newest !== undefined && from !== tagOf(newest))
    throw wrongLink(line, `[Unreleased] is compared with ${from}, the newest version here is ${newest}`);
  return { base, compare };
}

const wrongLink = (line: number, what: string) =>
  new Failure(`CHANGELOG.md:${line + 1}: ${what}`, { next: 'correct the link' });
