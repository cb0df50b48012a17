import { Failure } from '../../failure.ts';
import { ident, type Sql, sql } from '../../sql.ts';
import type { TableRows } from '../manifest.ts';
import type { Server } from './server.ts';
import { openSession } from './session.ts';

/** How long is waited for a lock that DDL of the app holds. */
export const LOCK_WAIT = '60s';

interface Table {
  schema: string;
  name: string;
  readable: boolean;
}

const TABLES = sql`
  SELECT json_build_object(
    'schema', n.nspname, 'name', c.relname, 'readable', has_table_privilege(c.oid, 'SELECT'))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY n.nspname, c.relname`;

/**
 * The tables of a database that a dump has rows of.
 * @throws Failure naming those that the role may not read
 */
export async function readableTables(server: Server, database: string): Promise<Table[]> {
  const tables = await server.rows<Table>(database, TABLES);
  const barred = tables.filter((table) => !table.readable).map(({ schema, name }) => `${schema}.${name}`);
  if (barred.length > 0) {
    const more = barred.length > 5 ? ` and ${barred.length - 5} more` : '';
    throw new Failure(`${server.address.uri}: may not read ${barred.slice(0, 5).join(', ')}${more}`, {
      next: 'GRANT pg_read_all_data TO the role of the backup',
    });
  }
  return tables;
}

/** The rows that a dump has of a table: those of its children are theirs, and may be on another server. */
export const countOf = (schema: string, name: string): Sql =>
  sql`SELECT count(*) FROM ONLY ${ident(schema, name)}`;

/** A snapshot of a database that pg_dump can take over, so that what is counted is what is dumped. */
export interface Snapshot {
  readonly id: string;
  /** Counts the rows of every table, as the snapshot sees them. */
  count(): Promise<TableRows[]>;
  close(): Promise<void>;
}

export async function exportSnapshot(server: Server, database: string): Promise<Snapshot> {
  const session = openSession(server, database);
  // Row security would hide rows from a count without a word; off, it is an error, as it is for pg_dump.
  await session.query(
    sql`SET row_security = off`,
    sql`SET lock_timeout = ${LOCK_WAIT}`,
    sql`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`,
  );
  const [id = ''] = await session.query(sql`SELECT pg_export_snapshot()`);
  const tables = (await session.query(TABLES)).map((line) => JSON.parse(line) as Table);
  return {
    id,
    async count() {
      const counted: TableRows[] = [];
      for (const { schema, name } of tables) {
        const [rows] = await session.query(countOf(schema, name));
        counted.push({ table: `${schema}.${name}`, rows: Number(rows) });
      }
      return counted;
    },
    close: () => session.end(),
  };
}
