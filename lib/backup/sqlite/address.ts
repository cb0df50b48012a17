import { basename } from 'node:path';
import { takeName } from '../names.ts';

/** A SQLite database by its file. */
export interface SqliteAddress {
  via: 'sqlite';
  file: string;
  /** The part's name: the file's, without its ending, or what `?name=` says. */
  name: string;
  uri: string;
}

/** `sqlite:///home/ec2-user/data/code_monet.db`. */
export function parseSqlite(raw: string): SqliteAddress {
  const { item, as } = takeName(raw);
  const found = /^sqlite:\/\/(\/.+)$/.exec(item);
  if (!found) throw new Error('is not sqlite:// and an absolute path');
  const file = decodeURIComponent(found[1] ?? '');
  const own = basename(file)
    .replace(/\.[^.]+$/, '')
    .replaceAll(/[^\w.-]/g, '_');
  const name = as ?? own;
  if (/^\.*$/.test(name)) throw new Error('gives no name for the part; write ?name=NAME behind the file');
  return { via: 'sqlite', file, name, uri: raw };
}
