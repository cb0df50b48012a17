import { z } from 'zod';
import { Failure } from '../../failure.ts';
import { sql } from '../../sql.ts';
import type { Server } from './server.ts';

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
