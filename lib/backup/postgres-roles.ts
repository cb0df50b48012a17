import type { Report } from '../output.ts';
import { CommandFailure } from '../shell.ts';
import { ident, type Sql, sql } from '../sql.ts';
import type { Access, PostgresPart, Recovery } from './manifest.ts';
import { type Server, uninterrupted } from './postgres.ts';
import {
  type Globals,
  LIST,
  type Membership,
  type Role,
  readGlobals,
  type Setting,
} from './postgres-globals.ts';

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
async function createMissingRoles(
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

/**
 * Makes the database that a dump is restored into, as the one was that it is of; missing roles come first.
 * @param schema what the dump says of its tables; asked for only where roles are missing, which it may name
 * @returns what is left to do after the dump: a setting must not change how it is read
 */
export async function createDatabase(
  server: Server,
  part: PostgresPart,
  name: string,
  schema: () => Promise<string>,
  recovery: Recovery,
): Promise<() => Promise<void>> {
  const { report } = recovery;
  const globals = await readGlobals(part, recovery);
  const set = (settings: Globals['settings'], of: Sql) => setAll(server, settings, of, report);
  await makeRoles(server, globals, part, schema, report);
  const icu = part.icuLocale === null ? sql`` : sql` LOCALE_PROVIDER icu ICU_LOCALE ${part.icuLocale}`;
  const database = ident(name);
  await server.execute(
    server.maintenance,
    dropStatement(name),
    sql`CREATE DATABASE ${database} OWNER ${ident(part.owner)} TEMPLATE template0 ENCODING ${part.encoding}
      LC_COLLATE ${part.collate} LC_CTYPE ${part.ctype}${icu}`,
    ...(part.access ? grantStatements(database, part.access, part.owner) : []),
    ...(part.connectionLimit === undefined
      ? []
      : [sql`ALTER DATABASE ${database} CONNECTION LIMIT ${part.connectionLimit}`]),
  );
  // What an app or an extension made up is nothing to PostgreSQL itself, and a function of the dump may ask for it.
  const own = ({ name }: Setting) => !name.includes('.');
  await set(
    globals.settings.filter((setting) => !own(setting)),
    sql`ALTER DATABASE ${database}`,
  );
  return async () => {
    await set(globals.settings.filter(own), sql`ALTER DATABASE ${database}`);
    for (const { role, settings } of globals.roleSettings)
      await set(settings, sql`ALTER ROLE ${ident(role)} IN DATABASE ${database}`);
  };
}

async function makeRoles(
  server: Server,
  globals: Globals,
  { owner, access }: PostgresPart,
  schema: () => Promise<string>,
  report: Report,
): Promise<void> {
  const granted = (access ?? []).flatMap(({ to }) => to ?? []);
  const names = [owner, ...granted, ...globals.roleSettings.map(({ role }) => role)];
  const { roles, withheld } = await createMissingRoles(server, globals, async () => ({
    names,
    schema: await schema(),
  }));
  if (roles.length === 0) return;
  report.warn(
    `made the roles ${roles.map(({ name }) => name).join(', ')}: they have no password yet (ALTER ROLE … PASSWORD)`,
  );
  if (withheld.length > 0) {
    const statements = withheld.map(({ text }) => `${text};`).join(' ');
    report.warn(`left out what gives power over the server; run it yourself if it is meant: ${statements}`);
  }
  for (const { name, settings } of roles)
    await setAll(server, settings, sql`ALTER ROLE ${ident(name)}`, report);
}

/** psql's exit code for a statement that failed, not the connection. */
const REFUSED = 3;

/** Sets one by one; what the server refuses (another version, a tablespace that it lacks) is named, never its value. */
async function setAll(server: Server, settings: readonly Setting[], of: Sql, report: Report): Promise<void> {
  for (const setting of settings) {
    try {
      await server.execute(server.maintenance, ...setStatements(of, setting));
    } catch (error) {
      if (!(error instanceof CommandFailure) || error.code !== REFUSED) throw error;
      // `invalid value for parameter "x": "…"`; others name no value.
      const words = error.words.replace(/": ".*$/, '"');
      report.warn(`the server refused ${of.text} SET ${setting.name}: ${words}`);
    }
  }
}

/** Drops a database, whoever is connected to it, also after an interruption. */
export const drop = (server: Server, name: string) =>
  uninterrupted(server).execute(server.maintenance, dropStatement(name));

const dropStatement = (name: string) => sql`DROP DATABASE IF EXISTS ${ident(name)} WITH (FORCE)`;
