import { createInterface } from 'node:readline';
import type { Running } from '../../host.ts';
import { asInput, dbname, PSQL, type Sql, session, sql } from '../../sql.ts';
import type { Server } from './server.ts';

/** A psql that stays open, so that a transaction and its snapshot live as long as we need them. */
export interface Session {
  /** The lines that statements give. @throws Failure with psql's own words when the session ended */
  query(...statements: Sql[]): Promise<string[]>;
  /** Commits nothing: closes the connection. */
  end(): Promise<void>;
}

/** Says that a query's output is complete; no row of ours can look like it. */
const END = '\u0004opsbook';

export function openSession(server: Server, database: string): Session {
  const psql = server.host.start(server.command(...PSQL, ...dbname(database)));
  const lines = createInterface({ input: psql.stdout })[Symbol.asyncIterator]();
  psql.stdin.write(session());
  return {
    query: (...statements) => ask(psql, lines, statements),
    async end() {
      psql.stdin.end();
      await psql.done;
    },
  };
}

async function ask(
  psql: Running,
  lines: AsyncIterator<string>,
  statements: readonly Sql[],
): Promise<string[]> {
  psql.stdin.write(asInput([...statements, sql`SELECT ${END}`]));
  const answer: string[] = [];
  for (;;) {
    const { done, value } = await lines.next();
    if (done) {
      await psql.done;
      throw new Error('psql ended in the middle of a session');
    }
    if (value === END) return answer;
    answer.push(value);
  }
}
