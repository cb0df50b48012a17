import { type Command, cmd } from './command.ts';
import { Failure } from './failure.ts';

/** SQL as psql reads it. */
class Statement {
  /** Private, which makes the type nominal: no other object passes for one. */
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  get text(): string {
    return this.#text;
  }
}

/** Made only by {@link sql}, {@link ident} and {@link listed}: what is not our own text is in it as a value. */
export type Sql = Statement;

/** SQL with values in it: strings are quoted, numbers are integers, other SQL stays what it is. */
export const sql = (strings: TemplateStringsArray, ...values: Array<string | number | Sql>): Sql =>
  new Statement(strings.reduce((text, piece, at) => text + inSql(values[at - 1]) + piece));

/** A quoted name; of several parts, `"schema"."table"`. */
export const ident = (...path: string[]): Sql =>
  new Statement(path.map((name) => `"${whole(name, name).replaceAll('"', '""')}"`).join('.'));

/** Items with a comma between them. */
export const listed = (items: readonly Sql[]): Sql => new Statement(items.map(({ text }) => text).join(', '));

function inSql(value: string | number | Sql | undefined): string {
  if (value instanceof Statement) return value.text;
  if (typeof value === 'string') return literal(value);
  if (Number.isSafeInteger(value)) return String(value);
  throw new TypeError(`${typeof value} is not a value for SQL`);
}

/** The one form that reads the same whatever `standard_conforming_strings` says, without a line break in it. */
const literal = (text: string) =>
  `E'${whole(text)
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "''")
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')}'`;

/** @throws Failure for a text that PostgreSQL cannot hold; only a name is shown, a value may be a secret */
function whole(text: string, shown?: string): string {
  if (!text.includes('\0') && text.isWellFormed()) return text;
  const what = shown === undefined ? 'a value' : `the name ${JSON.stringify(shown)}`;
  throw new Failure(`${what} for PostgreSQL has a NUL byte or half a character in it`, {
    next: 'correct it where it comes from',
  });
}

/** psql on a database, as a program wants it: no rc file, no decoration, an error ends it. */
export const psql = (database: string): Command =>
  cmd`psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 ${dbname(database)}`;

/** The arguments that name a database: libpq takes a bare name with `=` or `://` in it for a connection string. */
export const dbname = (name: string): [string, string] => [
  '--dbname',
  /^[\w.-]+$/.test(name) ? name : `dbname='${name.replaceAll(/[\\']/g, '\\$&')}'`,
];

/** Settings that would end a statement of ours for being slow; which ones exist depends on the server's version. */
const TIMEOUTS = [
  ...['statement_timeout', 'lock_timeout', 'transaction_timeout'],
  ...['idle_in_transaction_session_timeout', 'idle_session_timeout'],
];

/**
 * Sent first in each session; gives no rows. The settings of the database or the role, which others may write, must not
 * change what our statements mean: which functions they call, how text is read, how long they may take.
 */
const SESSION = [
  sql`SET client_encoding = 'UTF8'`,
  sql`SET standard_conforming_strings = on`,
  sql`SET search_path = pg_catalog`,
  sql`SET default_transaction_read_only = off`,
  // Nobody reads a notice, and it would be taken for the reason why psql failed.
  sql`SET client_min_messages = error`,
  sql`SELECT FROM pg_settings WHERE CASE WHEN name IN (${listed(TIMEOUTS.map((name) => sql`${name}`))})
    THEN set_config(name, '0', false) IS NULL ELSE false END`,
];

/**
 * The input by which psql runs statements one by one. It has no commands of psql's own in it: values are quoted, and
 * psql looks for neither backslashes nor variables within quotes.
 */
export const asInput = (statements: readonly Sql[]): string =>
  statements.map(({ text }) => `${text};\n`).join('');

/** The same for a session that begins here. */
export const session = (...statements: Sql[]): string => asInput([...SESSION, ...statements]);
