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

/** Negative when `a` comes before `b` by semver.org's precedence, 0 when they are equal. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [identifiers(a), identifiers(b)];
  const differs = left.findIndex((one, i) => one !== right[i]);
  const [one = '', other] = [left[differs], right[differs]];
  if (differs < 0 || other === undefined) return left.length - right.length;
  const [isNumber, isOther] = [one, other].map((text) => /^\d+$/.test(text));
  if (isNumber && isOther) return Number(one) - Number(other);
  if (isNumber !== isOther) return isNumber ? -1 : 1;
  return one < other ? -1 : 1;
}

/** Where a prerelease has identifiers, a release has one that comes after them all. */
function identifiers(version: string): string[] {
  const [, core = '', prerelease = '~'] = /^([^-]+)(?:-(.+))?$/.exec(version) ?? [];
  return [core, prerelease].flatMap((part) => part.split('.'));
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
export function isEmpty(changelog: Changelog, section: Section): boolean {
  const text = bodyOf(changelog, section).replaceAll(/<!--[\s\S]*?-->/g, '');
  return text.split('\n').every((line) => line.trim() === '' || /^\s*#{3,}\s/.test(line));
}

/** What a section says, with the definitions of the links in it, so that it can stand alone. */
export function notes(changelog: Changelog, section: Section): string {
  const body = bodyOf(changelog, section).trim();
  const used = changelog.links.filter(({ label }) => body.toLowerCase().includes(`[${label.toLowerCase()}]`));
  const definitions = used.map(({ label, url }) => `[${label}]: ${url}`);
  return [body, ...(definitions.length > 0 ? ['', ...definitions] : [])].join('\n');
}

/** The text of a section without its heading and without link definitions. */
function bodyOf({ lines, links }: Changelog, { start, end }: Section): string {
  const definitions = new Set(links.map(({ line }) => line));
  const body = lines.filter((_, line) => line > start && line < end && !definitions.has(line));
  return body.map((line) => line.replace(/\r$/, '')).join('\n');
}

/**
 * The file with what is unreleased released: three lines are new, or four, and no other byte is changed.
 * @param date YYYY-MM-DD
 * @param page of the repository, where its remote says it: for a file that has no links yet
 */
export function released(
  changelog: Changelog,
  { version, date, page }: { version: string; date: string; page: string | undefined },
): string {
  const lines = [...changelog.lines];
  const { start } = changelog.unreleased;
  const heading = lines[start] ?? '';
  const eol = heading.endsWith('\r') ? '\r' : '';
  const title = heading.includes('[') ? `[${version}]` : version;
  // The end of the file first, so that the indexes before it stay true.
  const links = linkEdit(changelog, version, page);
  if (links) lines.splice(links.line, links.remove, ...links.insert.map((text) => text + eol));
  lines.splice(start + 1, 0, eol, `## ${title} - ${date}${eol}`);
  return lines.join('\n');
}

/** What becomes of the link definitions: from `line` on, `remove` lines make way for others. */
function linkEdit(changelog: Changelog, version: string, page: string | undefined) {
  const { links, lines } = changelog;
  const link = links.find(({ label }) => label.toLowerCase() === 'unreleased');
  const target = link ? linkTarget(link, changelog) : page && { base: page, compare: '/compare/' };
  if (!target) return undefined;
  const { base, compare } = target;
  const tag = tagOf(version);
  const before = changelog.released[0]?.version;
  const definitions = [
    `[${link?.label ?? 'unreleased'}]: ${base}${compare}${tag}...HEAD`,
    `[${version}]: ${before === undefined ? `${base}/releases/tag/${tag}` : `${base}${compare}${tagOf(before)}...${tag}`}`,
  ];
  if (link) return { line: link.line, remove: 1, insert: definitions };
  const { start } = changelog.released.at(-1) ?? changelog.unreleased;
  const first = links.find(({ line }) => line > start);
  if (first) return { line: first.line, remove: 0, insert: definitions };
  const ended = lines.at(-1) === '' ? 1 : 0;
  return { line: lines.length - ended, remove: 0, insert: ['', ...definitions, ...(ended ? [] : [''])] };
}

/** Where the link of [Unreleased] leads: the repository's page, and its path for comparisons. */
function linkTarget({ url, line }: Link, { released }: Changelog): { base: string; compare: string } {
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
