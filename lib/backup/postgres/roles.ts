import type { Access } from '../manifest.ts';
import { ident, literal, type Server } from './server.ts';

/**
 * Those statements of `pg_dumpall --globals-only` that make the roles which the server does not have and `sql` names:
 * their CREATE, their ALTER, and their memberships. Others were perhaps dropped on purpose.
 */
export function missingRoles(
  globals: string,
  present: readonly string[],
  sql: string,
): { roles: string[]; statements: string[] } {
  const lines = globals.split('\n').filter((line) => line.endsWith(';'));
  const created = lines.flatMap((line) => /^CREATE ROLE (.+);$/.exec(line)?.[1] ?? []);
  const missing = created.filter((quoted) => !present.includes(unquoted(quoted)));
  const needed = new Set(missing.filter((quoted) => sql.includes(quoted)));
  const member = (line: string) => (role: string) =>
    line.startsWith('GRANT ') && (line.includes(` TO ${role} `) || line.endsWith(` TO ${role};`));
  // A set hears of what is added to it while it is walked through: the groups of groups come in too.
  for (const role of needed) {
    const grants = lines.filter((line) => member(line)(role));
    for (const group of missing)
      if (grants.some((line) => line.startsWith(`GRANT ${group} TO `))) needed.add(group);
  }
  const roles = missing.filter((role) => needed.has(role));
  const about = (line: string) =>
    roles.some((role) => line === `CREATE ROLE ${role};` || line.startsWith(`ALTER ROLE ${role} `)) ||
    roles.some(member(line));
  return { roles: roles.map(unquoted), statements: lines.filter(about) };
}

const unquoted = (name: string) => (name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name);

/**
 * Makes the roles that a new server lacks and `sql` names; returns their names. They have no password.
 * @param sql asked for only where a role is missing
 */
export async function createMissingRoles(
  server: Server,
  globals: string,
  sql: () => Promise<string>,
): Promise<string[]> {
  const present = await server.rows<string>(server.maintenance, 'SELECT to_json(rolname) FROM pg_roles');
  // The globals name all of their roles.
  if (missingRoles(globals, present, globals).roles.length === 0) return [];
  const { roles, statements } = missingRoles(globals, present, await sql());
  if (statements.length > 0)
    await server.execute(server.maintenance, ...statements.map((s) => s.slice(0, -1)));
  return roles;
}

/** A list of names (search_path) is stored as it was written: one string around it would be one name. */
function listed(name: string, value: string): string {
  if (!/^(search_path|temp_tablespaces|.*_libraries)$/.test(name)) return literal(value);
  // An empty name is written by us as a string only: `""` is refused.
  return value.replaceAll(/(^|, *)""(?=,|$)/g, "$1''");
}

/** `ALTER DATABASE … SET`, `of` being how it begins, for what `pg_db_role_setting` says as `name=value`. */
export function setStatements(of: string, settings: readonly string[]): string[] {
  return settings.map((item) => {
    const at = item.indexOf('=');
    const value = item.slice(at + 1);
    return `${of} SET ${item.slice(0, at)} TO ${listed(item.slice(0, at), value)}`;
  });
}

/** `GRANT … ON DATABASE`, after what everybody may without being granted it was revoked. */
export function grantStatements(quotedDatabase: string, access: readonly Access[], owner: string): string[] {
  const revoked = ['PUBLIC', ident(owner)].map(
    (from) => `REVOKE ALL ON DATABASE ${quotedDatabase} FROM ${from}`,
  );
  const granted = access.map(
    ({ to, privilege, grantable }) =>
      `GRANT ${privilege} ON DATABASE ${quotedDatabase} TO ${to === null ? 'PUBLIC' : ident(to)}` +
      `${grantable ? ' WITH GRANT OPTION' : ''}`,
  );
  return [...revoked, ...granted];
}
