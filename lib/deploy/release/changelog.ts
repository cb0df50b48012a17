import { Failure } from '../../failure.ts';
import { VERSION } from './version.ts';

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

export interface Release extends Section {
  readonly version: string;
}

/** A link definition: `[1.2.0]: https://…`. */
export interface Link {
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
