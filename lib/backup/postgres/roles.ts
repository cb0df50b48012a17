import { ident, type Sql, sql } from '../../sql.ts';
import type { Access } from '../manifest.ts';
import { type Globals, LIST, type Membership, type Role, type Setting } from './globals.ts';
import type { Server } from './server.ts';

/** What lets a role past the rights of others: no backup gives it. */
const POWERS = ['superuser', 'createrole', 'replication', 'bypassrls'] as const;

/** The roles of a server, and whether each, by itself or by a role that it is a member of, has such a power. */
const PRESENT = sql`SELECT json_build_object('name', r.rolname, 'powerful', EXISTS (
    SELECT FROM pg_roles p WHERE pg_has_role(r.oid, p.oid, 'MEMBER') AND (p.rolsuper OR p.rolcreaterole
      OR p.rolreplication OR p.rolbypassrls
      OR p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))))
  FROM pg_roles r`;

type Present = ReadonlyMap<string, { powerful: boolean }>;

/** What is made of a backup's roles, and the statements that are left to somebody who means them. */
export interface NewRoles {
  roles: Role[];
  statements: Sql[];
  withheld: Sql[];
}

/**
 * Makes the roles that a new server lacks and `named` says that they are needed, in one transaction. They have no
 * password.
 * @param named what the dump says, and whom the database names; asked for only where a role is missing
 */
export async function createMissingRoles(
  server: Server,
  globals: Globals,
  named: () => Promise<{ names: readonly string[]; schema: string }>,
): Promise<NewRoles> {
  const rows = await server.rows<{ name: string; powerful: boolean }>(server.maintenance, PRESENT);
  const present = new Map(rows.map((row) => [row.name, row]));
  if (globals.roles.every(({ name }) => present.has(name)))
    return { roles: [], statements: [], withheld: [] };
  const { names, schema } = await named();
  const missing = newRoles(globals, present, (name) => names.includes(name) || mentions(schema, name));
  if (missing.roles.length > 0)
    await server.execute(server.maintenance, sql`BEGIN`, ...missing.statements, sql`COMMIT`);
  return missing;
}

/** Whether SQL names something: quoted, or by itself. */
export const mentions = (schema: string, name: string) =>
  new RegExp(
    `(?<![\\p{L}\\p{N}_$])${RegExp.escape(name.replaceAll('"', '""'))}(?![\\p{L}\\p{N}_$])`,
    'u',
  ).test(schema);

/** The roles that are needed and not there, with the groups that they are in. */
export function newRoles(
  { roles, memberships }: Globals,
  present: Present,
  isNeeded: (name: string) => boolean,
): NewRoles {
  const absent = roles.filter(({ name }) => !present.has(name));
  const needed = new Set(absent.map(({ name }) => name).filter(isNeeded));
  // A set hears of what is added to it while it is walked through: the groups of groups come in too.
  for (const name of needed)
    for (const { role, member } of memberships)
      if (member === name && absent.some((one) => one.name === role)) needed.add(role);
  const made = absent.filter(({ name }) => needed.has(name));
  const grants = memberships.filter(({ member }) => needed.has(member));
  const isSafe = ({ role }: Membership) => needed.has(role) || present.get(role)?.powerful === false;
  const powers = made.flatMap((role) =>
    POWERS.filter((power) => role[power]).map(
      (power) => sql`ALTER ROLE ${ident(role.name)} ${KEYWORD[power]}`,
    ),
  );
  return {
    roles: made,
    statements: [...made.flatMap(createStatements), ...grants.filter(isSafe).map(grantStatement)],
    withheld: [...powers, ...grants.filter((grant) => !isSafe(grant)).map(grantStatement)],
  };
}

const KEYWORD = {
  superuser: sql`SUPERUSER`,
  createrole: sql`CREATEROLE`,
  replication: sql`REPLICATION`,
  bypassrls: sql`BYPASSRLS`,
};

function createStatements(role: Role): Sql[] {
  const name = ident(role.name);
  const { inherit, createdb, login, connectionLimit, validUntil, comment } = role;
  const until = validUntil === null ? sql`` : sql` VALID UNTIL ${validUntil}`;
  return [
    sql`CREATE ROLE ${name} ${inherit ? sql`INHERIT` : sql`NOINHERIT`} ${createdb ? sql`CREATEDB` : sql`NOCREATEDB`} ${
      login ? sql`LOGIN` : sql`NOLOGIN`
    } CONNECTION LIMIT ${connectionLimit}${until}`,
    ...(comment === null ? [] : [sql`COMMENT ON ROLE ${name} IS ${comment}`]),
  ];
}

/** By ourselves, whoever granted it: a grantor that may no longer grant would be refused. */
function grantStatement({ role, member, admin, inherit, set }: Membership): Sql {
  const is = (value: boolean) => (value ? sql`TRUE` : sql`FALSE`);
  const granted = sql`GRANT ${ident(role)} TO ${ident(member)}`;
  if (inherit === null || set === null) return admin ? sql`${granted} WITH ADMIN OPTION` : granted;
  return sql`${granted} WITH ADMIN ${is(admin)}, INHERIT ${is(inherit)}, SET ${is(set)}`;
}

/**
 * `ALTER … SET` for a session of its own, `of` being how it begins. For a list, set_config reads the text that was
 * stored: in our own session, none of these changes what the statement after it does.
 */
export function setStatements(of: Sql, { name, value }: Setting): Sql[] {
  const parameter = ident(...name.split('.'));
  if (!LIST.test(name)) return [sql`${of} SET ${parameter} TO ${value}`];
  return [sql`SELECT FROM set_config(${name}, ${value}, false)`, sql`${of} SET ${parameter} FROM CURRENT`];
}

const PRIVILEGES = { CONNECT: sql`CONNECT`, CREATE: sql`CREATE`, TEMPORARY: sql`TEMPORARY` };

/** `GRANT … ON DATABASE`, after what everybody may without being granted it was revoked. */
export function grantStatements(database: Sql, access: readonly Access[], owner: string): Sql[] {
  const revoked = [sql`PUBLIC`, ident(owner)].map(
    (from) => sql`REVOKE ALL ON DATABASE ${database} FROM ${from}`,
  );
  const granted = access.map(({ to, privilege, grantable }) => {
    const option = grantable ? sql` WITH GRANT OPTION` : sql``;
    return sql`GRANT ${PRIVILEGES[privilege]} ON DATABASE ${database} TO ${to === null ? sql`PUBLIC` : ident(to)}${option}`;
  });
  return [...revoked, ...granted];
}
