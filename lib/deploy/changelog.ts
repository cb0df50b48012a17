import { EXIT, Failure } from '../failure.ts';

const NUMBER = '(?:0|[1-9]\\d*)';
const PRERELEASE_PART = `(?:${NUMBER}|\\d*[a-zA-Z-][0-9a-zA-Z-]*)`;
/** A version by semver.org, for use in other patterns; without build metadata, which no image tag can have. */
const VERSION = `${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-${PRERELEASE_PART}(?:\\.${PRERELEASE_PART})*)?`;

/** The version that an operator or a tag names: `1.2.0`, `v1.2.0`, `1.2.0-rc.1`. @throws Failure with exit 2 */
export function parseVersion(raw: string): string {
  const version = raw.replace(/^v/, '');
  if (new RegExp(`^${VERSION}$`).test(version)) return version;
  const why = version.includes('+') ? 'has build metadata, which no image tag can have' : 'is not a version';
  throw new Failure(`${raw} ${why}`, { exit: EXIT.usage, next: 'name one such as 1.2.0 or 1.2.0-rc.1' });
}

export const tagOf = (version: string): string => `v${version}`;

export const isPrerelease = (version: string): boolean => version.includes('-');

/** Negative when `a` comes before `b` by semver.org's precedence, 0 when they are equal. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(parts) as [Parts, Parts];
  for (const i of [0, 1, 2]) {
    const difference = Number(left.core[i]) - Number(right.core[i]);
    if (difference !== 0) return difference;
  }
  // A prerelease comes before its release.
  if (left.rest.length === 0 || right.rest.length === 0) return right.rest.length - left.rest.length;
  for (let i = 0; i < Math.max(left.rest.length, right.rest.length); i += 1) {
    const difference = compareParts(left.rest[i], right.rest[i]);
    if (difference !== 0) return difference;
  }
  return 0;
}

interface Parts {
  core: string[];
  rest: string[];
}

function parts(version: string): Parts {
  const dash = version.indexOf('-');
  const [core, rest] = dash < 0 ? [version, ''] : [version.slice(0, dash), version.slice(dash + 1)];
  return { core: core.split('.'), rest: rest === '' ? [] : rest.split('.') };
}

function compareParts(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? -1 : 1;
  const [left, right] = [a, b].map((part) => /^\d+$/.test(part)) as [boolean, boolean];
  if (left && right) return Number(a) - Number(b);
  if (left !== right) return left ? -1 : 1;
  return a < b ? -1 : Number(a > b);
}

/**
 * A changelog by keepachangelog.com, as lines. The file belongs to those who write it: a release changes a few lines of
 * it and no other byte, which a library that parses and prints (keep-a-changelog) does not.
 */
export interface Changelog {
  /** As they are in the file; those of a file with CRLF end in CR. */
  readonly lines: readonly string[];
  readonly unreleased: Section;
  /** In the order of the file, the newest first. */
  readonly released: readonly Release[];
  readonly links: readonly Link[];
}

export interface Section {
  /** Indexes into the lines: of the heading, and of the first line behind the section. */
  readonly start: number;
  readonly end: number;
}

interface Release extends Section {
  readonly version: string;
}

/** A link definition: `[1.2.0]: https://…`. */
interface Link {
  readonly line: number;
  readonly label: string;
  readonly url: string;
}

const UNRELEASED = /^\[?unreleased\]?(?:\(\S*\))?$/i;
// With or without brackets, a link, a dash: `[1.2.0] - 2026-01-31`, `v1.2.0 (2026-01-31)`, `[1.2.0] - 2026-01-31 [YANKED]`.
const RELEASED = new RegExp(
  `^\\[?v?(${VERSION})\\]?(?:\\(\\S*\\))?\\s+(?:[-–—]\\s+)?\\(?(\\d{4}-\\d{2}-\\d{2})\\)?(?:\\s+\\[yanked\\])?$`,
  'i',
);

/** @throws Failure that names the line that is not as the format wants it */
export function parseChangelog(text: string): Changelog {
  const lines = text.split('\n');
  const { headings, links } = scan(lines);
  const unreleased: Section[] = [];
  const released: Release[] = [];
  headings.forEach(({ line, title }, i) => {
    const section = { start: line, end: headings[i + 1]?.line ?? lines.length };
    const version = RELEASED.exec(title)?.[1];
    if (UNRELEASED.test(title)) unreleased.push(section);
    else if (version === undefined)
      throw malformed(
        line,
        `"## ${title}" is neither [Unreleased] nor a version and its date, [1.2.0] - 2026-01-31`,
      );
    else if (released.some((before) => before.version === version))
      throw malformed(line, `version ${version} has a second section`);
    else released.push({ ...section, version });
  });
  const [first, second] = unreleased;
  if (!first) throw malformed(0, 'there is no section "## [Unreleased]"');
  if (second) throw malformed(second.start, 'there is a second [Unreleased]');
  if (released.some((r) => r.start < first.start))
    throw malformed(first.start, '[Unreleased] is not the first section');
  return { lines, unreleased: first, released, links };
}

function scan(lines: readonly string[]): { headings: Array<{ line: number; title: string }>; links: Link[] } {
  const headings: Array<{ line: number; title: string }> = [];
  const links: Link[] = [];
  let fenced = false;
  lines.forEach((raw, line) => {
    if (/^\s*(```|~~~)/.test(raw)) fenced = !fenced;
    if (fenced) return;
    const title = /^##\s+(.*?)\s*$/.exec(raw)?.[1];
    if (title !== undefined) headings.push({ line, title });
    const [, label, url] = /^\[([^\]]+)\]:\s*(\S+)/.exec(raw) ?? [];
    if (label !== undefined && url !== undefined) links.push({ line, label, url });
  });
  return { headings, links };
}

const malformed = (line: number, what: string) =>
  new Failure(`CHANGELOG.md:${line + 1}: ${what}`, {
    next: 'correct it; the format is that of keepachangelog.com',
  });

/** Whether a section says nothing: no line but headings, comments and link definitions. */
export function isEmpty({ lines, links }: Changelog, { start, end }: Section): boolean {
  const text = lines
    .slice(start + 1, end)
    .filter((_, i) => !links.some((link) => link.line === start + 1 + i))
    .join('\n')
    .replaceAll(/<!--[\s\S]*?-->/g, '');
  return text.split('\n').every((line) => line.trim() === '' || /^\s*#{3,}\s/.test(line));
}

/** What a section says, with the definitions of the links in it, so that it can stand alone. */
export function notes({ lines, links }: Changelog, { start, end }: Section): string {
  const isLink = (line: number) => links.some((link) => link.line === line);
  const body = lines
    .slice(start + 1, end)
    .filter((_, i) => !isLink(start + 1 + i))
    .map((line) => line.replace(/\r$/, ''))
    .join('\n')
    .trim();
  const used = links.filter(({ label }) => body.toLowerCase().includes(`[${label.toLowerCase()}]`));
  const definitions = used.map(({ label, url }) => `[${label}]: ${url}`);
  return [body, ...(definitions.length > 0 ? ['', ...definitions] : [])].join('\n');
}

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
