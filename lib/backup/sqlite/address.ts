import { basename } from 'node:path';

/** A SQLite database by its file. */
export interface SqliteAddress {
  via: 'sqlite';
  file: string;
  /** The part's name: the file's, without its ending. */
  name: string;
  uri: string;
}

/** `sqlite:///home/ec2-user/data/code_monet.db`. */
export function parseSqlite(raw: string): SqliteAddress {
  const found = /^sqlite:\/\/(\/.+)$/.exec(raw);
  if (!found) throw new Error('is not sqlite:// and an absolute path');
  const file = decodeURIComponent(found[1] ?? '');
  const name = basename(file)
    .replace(/\.[^.]+$/, '')
    .replaceAll(/[^\w.-]/g, '_');
  return { via: 'sqlite', file, name, uri: raw };
}
