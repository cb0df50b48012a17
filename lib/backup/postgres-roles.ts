import { z } from 'zod';
import { CommandFailure } from '../command.ts';
import { Failure } from '../failure.ts';
import type { Report } from '../output.ts';
import { ident, type Sql, sql } from '../sql.ts';
import type { Access, PostgresPart, Recovery } from './manifest.ts';
import type { Server } from './postgres.ts';
import { Corrupted } from './store.ts';
import { readStored } from './transfer.ts';

/** A parameter's name; a custom one has several parts and, before 14, almost any letters. */
const parameter = z.string().regex(/^[\p{L}\p{N}_$-]+([.][\p{L}\p{N}_$-]+)*$/u, {
  error: ({ input }) => `${JSON.stringify(input)} is not the name of a parameter`,
});
const setting = z.object({ name: parameter, value: z.string() });

const role = z.object({
  name: z.string(),
  superuser: z.boolean(),
  inherit: z.boolean(),
  createrole: z.boolean(),
  createdb: z.boolean(),
  login: z.boolean(),
  replication: z.boolean(),
  bypassrls: z.boolean(),
  connectionLimit: z.int(),
  validUntil: z.string().nullable(),
  comment: z.string().nullable(),
  /** From `ALTER ROLE … SET`, for all databases. */
  settings: z.array(setting),
});

/** `role` was granted to `member`; `inherit` and `set` are null where the server did not tell them apart (before 16). */
const membership = z.object({
  role: z.string(),
  member: z.string(),
  admin: z.boolean(),
  inherit: z.boolean().nullable(),
  set: z.boolean().nullable(),
});

const globals = z.object({
  roles: z.array(role),
  memberships: z.array(membership),
  /** From `ALTER DATABASE … SET`. */
  settings: z.array(setting),
  /** From `ALTER ROLE … IN DATABASE … SET`. */
  roleSettings: z.array(z.object({ role: z.string(), settings: z.array(setting) })),
});

type Setting = z.infer<typeof setting>;
type Role = z.infer<typeof role>;
type Membership = z.infer<typeof membership>;
/** What belongs to a database and is not in its dump: data, which the restore turns into statements. */
export type Globals = z.infer<typeof globals>;

/** The settings of a row of pg_db_role_setting, which has them as `name=value`. */
const SETTINGS = sql`coalesce((SELECT jsonb_agg(jsonb_build_object(
    'name', split_part(item, '=', 1), 'value', substr(item, strpos(item, '=') + 1)) ORDER BY n)
  FROM unnest(setconfig) WITH ORDINALITY AS u(item, n)), '[]')`;

/** The roles of the server, without passwords, and the settings of these and of the database. */
export async function globalsOf(server: Server): Promise<Globals> {
  const { database, uri } = server.address;
  const [found] = await server.rows<Globals>(
    database,
    sql`SELECT jsonb_build_object(
      'roles', (SELECT jsonb_agg(jsonb_build_object('name', rolname, 'superuser', rolsuper, 'inherit', rolinherit,
          'createrole', rolcreaterole, 'createdb', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication,
          'bypassrls', rolbypassrls, 'connectionLimit', rolconnlimit, 'validUntil', rolvaliduntil,
          'comment', shobj_description(r.oid, 'pg_authid'),
          'settings', (SELECT ${SETTINGS} FROM (SELECT) one
            LEFT JOIN pg_db_role_setting ON setrole = r.oid AND setdatabase = 0)) ORDER BY rolname)
        FROM pg_roles r WHERE rolname !~ '^pg_'),
      'memberships', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', role, 'member', member, 'admin', admin,
          'inherit', inherit, 'set', set) ORDER BY role, member), '[]')
        FROM (SELECT pg_get_userbyid(roleid) AS role, pg_get_userbyid(m.member) AS member,
            bool_or(admin_option) AS admin, bool_or((to_jsonb(m) ->> 'inherit_option')::bool) AS inherit,
            bool_or((to_jsonb(m) ->> 'set_option')::bool) AS set
          FROM pg_auth_members m GROUP BY roleid, m.member) g
        WHERE member !~ '^pg_'),
      'settings', (SELECT ${SETTINGS} FROM (SELECT) one
        LEFT JOIN pg_db_role_setting ON setrole = 0 AND setdatabase = d.oid),
      'roleSettings', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', pg_get_userbyid(setrole),
          'settings', ${SETTINGS}) ORDER BY setrole), '[]')
        FROM pg_db_role_setting WHERE setrole <> 0 AND setdatabase = d.oid))
    FROM pg_database d WHERE datname = ${database}`,
  );
  const next = 'reset it there: ALTER DATABASE … RESET, or ALTER ROLE … RESET';
  return parseGlobals(found, (problem) => new Failure(`${uri}: ${problem}`, { next }));
}

/** Checks roles and settings, whoever wrote them. @throws what `failure` makes of the first thing that is wrong */
export function parseGlobals(found: unknown, failure: (problem: string) => Failure): Globals {
  const { success, data, error } = globals.safeParse(found);
  if (success) return data;
  const [issue] = error.issues;
  throw failure(`${issue?.path.join('/')}: ${issue?.message.replaceAll('\n', ' ')}`);
}

/** Reads a backup's roles and settings; an older backup has the settings in its manifest. */
export async function readGlobals(part: PostgresPart, recovery: Recovery): Promise<Globals> {
  const text = await readStored(part.globals, part.name, recovery, async (flow) => {
    return Buffer.concat(await Array.fromAsync(flow)).toString();
  });
  const split = (items: readonly string[]) =>
    items.map((item) => {
      const [, name = '', value = ''] = /^([^=]*)=(.*)$/s.exec(item) ?? [];
      return { name, value };
    });
  const { settings, roleSettings } = part;
  const all = {
    ...{ settings: [], roleSettings: [] },
    ...(jsonOf(text) ?? dumpedGlobals(text)),
    ...(settings && { settings: split(settings) }),
    ...(roleSettings && {
      roleSettings: roleSettings.map((of) => ({ ...of, settings: split(of.settings) })),
    }),
  };
  return parseGlobals(
    all,
    (problem) => new Corrupted(`part ${part.name}: its roles and settings: ${problem}`),
  );
}

function jsonOf(text: string): object | undefined {
  try {
    return Object(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** A server's roles, and whether each, itself or through a role that it is a member of, can bypass others' rights. */
const PRESENT = sql`SELECT json_build_object('name', r.rolname, 'powerful', EXISTS (
    SELECT FROM pg_roles p WHERE pg_has_role(r.oid, p.oid, 'MEMBER') AND (p.rolsuper OR p.rolcreaterole
      OR p.rolreplication OR p.rolbypassrls
      OR p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))))
  FROM pg_roles r`;

/**
 * Creates the roles that a database needs and the server lacks, without passwords, in one transaction.
 * @param schema what the dump says of its tables; read only where a role is missing, which it may name
 */
export async function createRoles(
  server: Server,
  globals: Globals,
  { owner, access }: PostgresPart,
  schema: () => Promise<string>,
  report: Report,
): Promise<void> {
  const rows = await server.rows<{ name: string; powerful: boolean }>(server.maintenance, PRESENT);
  const present = new Map(rows.map(({ name, powerful }) => [name, powerful]));
  if (globals.roles.every(({ name }) => present.has(name))) return;
  const dumped = await schema();
  const named = [owner, ...(access ?? []).map(({ to }) => to), ...globals.roleSettings.map((of) => of.role)];
  const isNeeded = (name: string) => named.includes(name) || mentions(dumped, name);
  const { roles, statements, withheld } = newRoles(globals, present, isNeeded);
  if (roles.length === 0) return;
  await server.execute(server.maintenance, sql`BEGIN`, ...statements, sql`COMMIT`);
  report.warn(
    `created the roles ${roles.map(({ name }) => name).join(', ')}: they have no password yet (ALTER ROLE … PASSWORD)`,
  );
  if (withheld.length > 0) {
    const left = withheld.map(({ text }) => `${text};`).join(' ');
    report.warn(`left out what gives power over the server; run it yourself if it is intended: ${left}`);
  }
  for (const { name, settings } of roles)
    await applySettings(server, settings, sql`ALTER ROLE ${ident(name)}`, report);
}

/** Whether SQL contains a name: quoted, or as a word of its own. */
export const mentions = (schema: string, name: string) =>
  new RegExp(
    `(?<![\\p{L}\\p{N}_$])${RegExp.escape(name.replaceAll('"', '""'))}(?![\\p{L}\\p{N}_$])`,
    'u',
  ).test(schema);

/** Attributes that let a role bypass the rights of others: no restore gives them. */
const POWERS = {
  superuser: sql`SUPERUSER`,
  createrole: sql`CREATEROLE`,
  replication: sql`REPLICATION`,
  bypassrls: sql`BYPASSRLS`,
};

/**
 * The roles that are needed and not there, with the groups that they are in.
 * @param present the server's roles, and whether each has power over it
 * @returns also the statements that create them, and those that are left to an operator: they give power
 */
export function newRoles(
  { roles, memberships }: Globals,
  present: ReadonlyMap<string, boolean>,
  isNeeded: (name: string) => boolean,
): { roles: Role[]; statements: Sql[]; withheld: Sql[] } {
  const absent = roles.filter(({ name }) => !present.has(name));
  const needed = new Set(absent.map(({ name }) => name).filter(isNeeded));
  // A set that is iterated also yields what is added meanwhile: the groups of groups come in too.
  for (const name of needed)
    for (const { role, member } of memberships)
      if (member === name && absent.some((one) => one.name === role)) needed.add(role);
  const created = absent.filter(({ name }) => needed.has(name));
  const grants = memberships.filter(({ member }) => needed.has(member));
  const isSafe = ({ role }: Membership) => needed.has(role) || present.get(role) === false;
  const powers = created.flatMap((role) =>
    Object.entries(POWERS)
      .filter(([power]) => role[power as keyof typeof POWERS])
      .map(([, keyword]) => sql`ALTER ROLE ${ident(role.name)} ${keyword}`),
  );
  return {
    roles: created,
    statements: [...created.flatMap(createStatements), ...grants.filter(isSafe).map(grantStatement)],
    withheld: [...powers, ...grants.filter((grant) => !isSafe(grant)).map(grantStatement)],
  };
}

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

/** Whoever granted it, we do: a grantor that may no longer grant would be refused. */
function grantStatement({ role, member, admin, inherit, set }: Membership): Sql {
  const is = (value: boolean) => (value ? sql`TRUE` : sql`FALSE`);
  const granted = sql`GRANT ${ident(role)} TO ${ident(member)}`;
  if (inherit === null || set === null) return admin ? sql`${granted} WITH ADMIN OPTION` : granted;
  return sql`${granted} WITH ADMIN ${is(admin)}, INHERIT ${is(inherit)}, SET ${is(set)}`;
}

const PRIVILEGES = { CONNECT: sql`CONNECT`, CREATE: sql`CREATE`, TEMPORARY: sql`TEMPORARY` };

/** `GRANT … ON DATABASE`, once what everybody has by default is revoked. */
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

/** psql's exit code for a statement that failed, not the connection. */
const REFUSED = 3;

/**
 * Applies settings one by one, `of` being how each `ALTER … SET` begins; what the server refuses (another version, a
 * tablespace that it lacks) is named, never its value.
 */
export async function applySettings(
  server: Server,
  settings: readonly Setting[],
  of: Sql,
  report: Report,
): Promise<void> {
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

/** The parameters that are lists of names: a string that was given for one would be one name. */
const LIST =
  /^(search_path|temp_tablespaces|(local|session|shared)_preload_libraries|unix_socket_directories)$/;

/**
 * `ALTER … SET`, for a session of its own. For a list, set_config reads the text that was stored: in our own session,
 * none of these changes what the statement after it does.
 */
export function setStatements(of: Sql, { name, value }: Setting): Sql[] {
  const parameter = ident(...name.split('.'));
  if (!LIST.test(name)) return [sql`${of} SET ${parameter} TO ${value}`];
  return [sql`SELECT FROM set_config(${name}, ${value}, false)`, sql`${of} SET ${parameter} FROM CURRENT`];
}

// No text matches these in two ways, so that a file made to be slow is not.
const NAME = /"(?:[^"]|"")*"(?!")|[\p{L}_][\p{L}\p{N}_$]*/u.source;
const STRING = /E'(?:[^'\\]|''|\\[\s\S])*'(?!')|'(?:[^']|'')*'(?!')/u.source;
/** What stands between statements; or a statement, whatever is quoted in it. */
const PIECE = new RegExp(
  `\\s+|--.*|\\\\(?:un)?restrict .*|(?<statement>(?:"(?:[^"]|"")*"(?!")|${STRING}|[^;"'\\\\E]|E(?!'))+);`,
  'uy',
);
const ATTRIBUTE = ' (NO)?(SUPERUSER|INHERIT|CREATEROLE|CREATEDB|LOGIN|REPLICATION|BYPASSRLS)';
const CREATE = new RegExp(`^CREATE ROLE (${NAME})$`, 'u');
const WITH = new RegExp(
  `^ALTER ROLE (${NAME}) WITH((?:${ATTRIBUTE.replaceAll('(', '(?:')})+)` +
    `(?: CONNECTION LIMIT (-?\\d+))?(?: VALID UNTIL (${STRING}))?$`,
  'u',
);
const SET = new RegExp(`^ALTER ROLE (${NAME}) SET (${NAME}) TO ((?:${STRING})(?:, (?:${STRING}))*)$`, 'u');
const GRANT = new RegExp(`^GRANT (${NAME}) TO (${NAME})((?:,? [A-Z]+)*)(?: GRANTED BY (?:${NAME}))?$`, 'u');

/**
 * The roles and memberships in the output of `pg_dumpall --globals-only`, which older backups have. It is read and
 * never run: what it says of roles must have pg_dumpall's own form; all else (tablespaces, comments) is ignored.
 * @throws Corrupted for what pg_dumpall does not write
 */
export function dumpedGlobals(text: string): Pick<Globals, 'roles' | 'memberships'> {
  const roles = new Map<string, Role>();
  const memberships: Membership[] = [];
  for (const statement of statements(text)) {
    const [, created] = CREATE.exec(statement) ?? [];
    const [, group, member, options = ''] = GRANT.exec(statement) ?? [];
    if (created) roles.set(unquoted(created), newRole(unquoted(created)));
    else if (group && member) memberships.push(membershipOf(group, member, options));
    else if (/^(CREATE|ALTER) ROLE /.test(statement) && !alter(roles, statement)) throw unread(statement);
  }
  return { roles: [...roles.values()], memberships };
}

function statements(text: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; at = PIECE.lastIndex) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(text);
    if (!piece) throw unread(text.slice(at));
    if (piece.groups?.['statement']) found.push(piece.groups['statement']);
  }
  return found;
}

/** Applies an ALTER ROLE to `roles`; false where it is not in pg_dumpall's form. */
function alter(roles: ReadonlyMap<string, Role>, statement: string): boolean {
  const [, altered, attributes = '', limit, until] = WITH.exec(statement) ?? [];
  const [, set, name = '', values = ''] = SET.exec(statement) ?? [];
  const role = roles.get(unquoted(altered ?? set ?? ''));
  // What is set in one database is in the manifest.
  if (!role) return /^ALTER ROLE \S+ IN DATABASE /.test(statement);
  if (set) role.settings.push(settingOf(unquoted(name), values));
  else {
    for (const [, no, attribute = ''] of attributes.matchAll(new RegExp(ATTRIBUTE, 'g')))
      role[attribute.toLowerCase() as 'login'] = no === undefined;
    role.connectionLimit = Number(limit ?? -1);
    role.validUntil = until ? unquoted(until) : null;
  }
  return true;
}

const newRole = (name: string): Role => ({
  ...{ name, superuser: false, inherit: true, createrole: false, createdb: false, login: false },
  ...{ replication: false, bypassrls: false, connectionLimit: -1, validUntil: null },
  ...{ comment: null, settings: [] },
});

function settingOf(name: string, values: string): Setting {
  const items = [...values.matchAll(new RegExp(STRING, 'gu'))].map(([item]) => unquoted(item));
  const quoted = items.map((item) => (LIST.test(name) ? `"${item.replaceAll('"', '""')}"` : item));
  return { name, value: quoted.join(', ') };
}

function membershipOf(group: string, member: string, options: string): Membership {
  // Since 16, pg_dumpall always writes INHERIT, and SET where it is false.
  const since16 = options.includes('INHERIT');
  return {
    ...{ role: unquoted(group), member: unquoted(member), admin: options.includes('ADMIN OPTION') },
    inherit: since16 ? options.includes('INHERIT TRUE') : null,
    set: since16 ? !options.includes('SET FALSE') : null,
  };
}

/** The value of a quoted name or a string. */
function unquoted(text: string): string {
  if (text.startsWith('"')) return text.slice(1, -1).replaceAll('""', '"');
  if (text.startsWith("E'")) return text.slice(2, -1).replaceAll(/''|\\([\s\S])/g, (_, c) => c ?? "'");
  return text.startsWith("'") ? text.slice(1, -1).replaceAll("''", "'") : text;
}

const unread = (statement: string) =>
  new Corrupted(
    `the backup's roles are not as pg_dumpall writes them: ${JSON.stringify(statement.slice(0, 100))}`,
  );
