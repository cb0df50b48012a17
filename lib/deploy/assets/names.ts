/** A year, which is as long as RFC 9111 lets anything be fresh. */
const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Kept, but asked about each time: HTML, and whatever keeps its name when it changes. */
const ASK = 'no-cache';

// `.js`, `.css.map`, `.js.gz`.
const EXTENSIONS = /\.[a-zA-Z0-9]+(?:\.(?:map|gz|br))?$/;
/** A name that is a hash alone has at least so many digits: shorter ones may be words. */
const ALONE = 16;

/**
 * Whether a piece of a name is plainly a hash: one that is taken for a hash by mistake is wrong in browsers for a year,
 * so that words, dates and versions must not pass. Bundlers write 8 of base64 or base32, or more of hexadecimal.
 */
function isHash(piece: string): boolean {
  if (!/\d/.test(piece) || /^\d+$/.test(piece)) return false;
  if (/^[0-9a-f]{8,64}$/.test(piece)) return true;
  if (/^[A-Z2-7]{8}$/.test(piece)) return true;
  return (
    /^[\w-]{8}$/.test(piece) && /[a-z]/.test(piece) && /[A-Z]/.test(piece) && !/^[A-Z][a-z]+\d+$/.test(piece)
  );
}

/** Whether a file never changes under its name; `directories` are those in which none does. */
export function isImmutable(path: string, directories: readonly string[]): boolean {
  if (isHtml(path)) return false;
  if (directories.some((directory) => path.startsWith(`${directory}/`))) return true;
  const stem = path.slice(path.lastIndexOf('/') + 1).replace(EXTENSIONS, '');
  return hashOf(stem) !== undefined;
}

/** The hash in a name without its extensions: what is behind the last separator; one in base64 may have dashes in it. */
function hashOf(stem: string): string | undefined {
  const behind = /[-_.]([^-_.]+)$/.exec(stem)?.[1] ?? '';
  const eight = /[-_.]/.test(stem.at(-9) ?? '') ? stem.slice(-8) : '';
  return [behind, eight, stem.length >= ALONE ? stem : ''].find(isHash);
}

/** A name without its hash: two builds of one file have it in common. */
export function plainName(path: string): string {
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const file = path.slice(folder.length);
  const stem = file.replace(EXTENSIONS, '');
  const hash = hashOf(stem);
  return hash === undefined ? path : `${folder}${stem.slice(0, -hash.length)}*${file.slice(stem.length)}`;
}

const isHtml = (path: string): boolean => /\.x?html?$/i.test(path);

/** What is referred to goes before what refers to it, and the file that tells the version behind all. */
export const STAGES = ['files', 'pages', 'version'] as const;
export type Stage = (typeof STAGES)[number];

export function stageOf(path: string): Stage {
  if (/^version\.(txt|json)$/.test(path)) return 'version';
  return isHtml(path) ? 'pages' : 'files';
}

export const cacheControl = (immutable: boolean): string => (immutable ? IMMUTABLE : ASK);
