import { z } from 'zod';
import { Failure } from '../failure.ts';
import { sql } from '../sql.ts';
import type { PostgresPart, Recovery } from './manifest.ts';
import type { Server } from './postgres.ts';
import { Corrupted } from './store.ts';
import { readStored } from './transfer.ts';

/** A parameter's name, of several parts where an extension or an app made it up; before 14, of almost any letters. */
const parameter = z.string().regex(/^[\p{L}\p{N}_$-]+([.][\p{L}\p{N}_$-]+)*$/u, {
  error: ({ input }) => `${JSON.stringify(input)} is no name of a parameter`,
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
  /** What `ALTER ROLE … SET` said, for all databases. */
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
  /** What `ALTER DATABASE … SET` said. */
  settings: z.array(setting),
  /** What `ALTER ROLE … IN DATABASE … SET` said. */
  roleSettings: z.array(z.object({ role: z.string(), settings: z.array(setting) })),
});

export type Setting = z.infer<typeof setting>;
export type Role = z.infer<typeof role>;
export type Membership = z.infer<typeof membership>;
/** What belongs to a database and is not in it: as data, of which the restore makes statements. */
export type Globals = z.infer<typeof globals>;

/** The parameters that are lists of names: a string that was given for one would be one name. */
export const LIST =
  /^(search_path|temp_tablespaces|(local|session|shared)_preload_libraries|unix_socket_directories)$/;

/** `name=value`, as pg_db_role_setting has it, apart. */
const APART = sql`coalesce((SELECT jsonb_agg(jsonb_build_object(
    'name', split_part(item, '=', 1), 'value', substr(item, strpos(item, '=') + 1)) ORDER BY n)
  FROM unnest(setconfig) WITH ORDINALITY AS u(item, n)), '[]')`;

/** The roles of the server, without passwords, and what they and the database are set to. */
export async function globalsOf(server: Server): Promise<Globals> {
  const { database } = server.address;
  const [found] = await server.rows<Globals>(
    database,
    sql`SELECT jsonb_build_object(
      'roles', (SELECT jsonb_agg(jsonb_build_object('name', rolname, 'superuser', rolsuper, 'inherit', rolinherit,
          'createrole', rolcreaterole, 'createdb', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication,
          'bypassrls', rolbypassrls, 'connectionLimit', rolconnlimit, 'validUntil', rolvaliduntil,
          'comment', shobj_description(r.oid, 'pg_authid'),
          'settings', (SELECT ${APART} FROM (SELECT) one
            LEFT JOIN pg_db_role_setting ON setrole = r.oid AND setdatabase = 0)) ORDER BY rolname)
        FROM pg_roles r WHERE rolname !~ '^pg_'),
      'memberships', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', role, 'member', member, 'admin', admin,
          'inherit', inherit, 'set', set) ORDER BY role, member), '[]')
        FROM (SELECT pg_get_userbyid(roleid) AS role, pg_get_userbyid(m.member) AS member,
            bool_or(admin_option) AS admin, bool_or((to_jsonb(m) ->> 'inherit_option')::bool) AS inherit,
            bool_or((to_jsonb(m) ->> 'set_option')::bool) AS set
          FROM pg_auth_members m GROUP BY roleid, m.member) g
        WHERE member !~ '^pg_'),
      'settings', (SELECT ${APART} FROM (SELECT) one
        LEFT JOIN pg_db_role_setting ON setrole = 0 AND setdatabase = d.oid),
      'roleSettings', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', pg_get_userbyid(setrole),
          'settings', ${APART}) ORDER BY setrole), '[]')
        FROM pg_db_role_setting WHERE setrole <> 0 AND setdatabase = d.oid))
    FROM pg_database d WHERE datname = ${database}`,
  );
  const next = 'reset it there: ALTER DATABASE … RESET, or ALTER ROLE … RESET';
  return parseGlobals(found, (problem) => new Failure(`${server.address.uri}: ${problem}`, { next }));
}

/** Roles and settings, checked whoever wrote them. @throws what `failure` makes of the first thing that is wrong */
export function parseGlobals(found: unknown, failure: (problem: string) => Failure): Globals {
  const { success, data, error } = globals.safeParse(found);
  if (success) return data;
  const [issue] = error.issues;
  throw failure(`${issue?.path.join('/')}: ${issue?.message.replaceAll('\n', ' ')}`);
}

/** What a backup says of roles and settings; of an older one, the settings are in its manifest. */
export async function readGlobals(part: PostgresPart, recovery: Recovery): Promise<Globals> {
  const text = await readStored(part.globals, part.name, recovery, async (flow) => {
    return Buffer.concat(await Array.fromAsync(flow)).toString();
  });
  const apart = (item: string): Setting => {
    const at = item.indexOf('=');
    return { name: item.slice(0, Math.max(at, 0)), value: item.slice(at + 1) };
  };
  const { settings, roleSettings } = part;
  const all = {
    ...{ settings: [], roleSettings: [] },
    ...(jsonOf(text) ?? dumpedGlobals(text)),
    ...(settings && { settings: settings.map(apart) }),
    ...(roleSettings && {
      roleSettings: roleSettings.map((of) => ({ ...of, settings: of.settings.map(apart) })),
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

// None of them can be read in two ways, so that a file made to be slow is not.
const NAME = /"(?:[^"]|"")*"(?!")|[\p{L}_][\p{L}\p{N}_$]*/u.source;
const STRING = /E'(?:[^'\\]|''|\\[\s\S])*'(?!')|'(?:[^']|'')*'(?!')/u.source;
/** What comes between statements; or one, whatever is quoted in it. */
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
 * The roles and memberships in what `pg_dumpall --globals-only` wrote, which older backups have. It is read and never
 * run: what it says of roles must have pg_dumpall's own form; all else (tablespaces, comments) is passed over.
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

/** Does to `roles` what an ALTER ROLE says; false where it is none of pg_dumpall's. */
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
  ...{
    replication: false,
    bypassrls: false,
    connectionLimit: -1,
    validUntil: null,
    comment: null,
    settings: [],
  },
});

function settingOf(name: string, values: string): Setting {
  const items = [...values.matchAll(new RegExp(STRING, 'gu'))].map(([item]) => unquoted(item));
  if (!LIST.test(name)) return { name, value: items.join(', ') };
  return { name, value: items.map((item) => `"${item.replaceAll('"', '""')}"`).join(', ') };
}

function membershipOf(group: string, member: string, options: string): Membership {
  // Since 16, INHERIT is always said, and SET where it is false.
  const since16 = options.includes('INHERIT');
  return {
    ...{ role: unquoted(group), member: unquoted(member), admin: options.includes('ADMIN OPTION') },
    inherit: since16 ? options.includes('INHERIT TRUE') : null,
    set: since16 ? !options.includes('SET FALSE') : null,
  };
}

/** What a quoted name or a string says. */
function unquoted(text: string): string {
  if (text.startsWith('"')) return text.slice(1, -1).replaceAll('""', '"');
  if (text.startsWith("E'")) return text.slice(2, -1).replaceAll(/''|\\([\s\S])/g, (_, c) => c ?? "'");
  return text.startsWith("'") ? text.slice(1, -1).replaceAll("''", "'") : text;
}

const unread = (statement: string) =>
  new Corrupted(`what pg_dumpall said of roles has ${JSON.stringify(statement.slice(0, 100))}`);
