import { EXIT, Failure } from '../../failure.ts';

const NUMBER = '(?:0|[1-9]\\d*)';
const PRERELEASE_PART = `(?:${NUMBER}|\\d*[a-zA-Z-][0-9a-zA-Z-]*)`;
/** A version by semver.org, for use in other patterns; without build metadata, which no image tag can have. */
export const VERSION = `${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-${PRERELEASE_PART}(?:\\.${PRERELEASE_PART})*)?`;

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
