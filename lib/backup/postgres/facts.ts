import { Failure } from '../../failure.ts';
import { sql } from '../../sql.ts';
import type { Access } from '../manifest.ts';
import type { Server } from './server.ts';

/** What is to be known of a database before it is dumped. */
export interface Facts {
  database: string;
  owner: string;
  encoding: string;
  collate: string;
  ctype: string;
  icuLocale: string | null;
  access: Access[] | null;
  connectionLimit: number;
  bytes: number;
  serverVersion: string;
  serverNumber: number;
}

/** The version of the pg_dump that would run. */
export async function clientVersion(server: Server): Promise<{ text: string; major: number }> {
  const said = await server.host.run(server.command('pg_dump', '--version'));
  const text = /\) (\S+)/.exec(said)?.[1] ?? said.trim();
  return { text, major: Number.parseInt(text, 10) };
}

export async function factsOf(server: Server): Promise<Facts> {
  const { database } = server.address;
  const [facts] = await server.rows<Facts>(
    database,
    sql`SELECT json_build_object(
       'database', datname, 'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
       'collate', datcollate, 'ctype', datctype,
       'icuLocale', coalesce(to_jsonb(d) ->> 'daticulocale', CASE to_jsonb(d) ->> 'datlocprovider'
         WHEN 'i' THEN to_jsonb(d) ->> 'datlocale' END),
       'access', (SELECT json_agg(json_build_object('to', CASE grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(grantee) END,
         'privilege', privilege_type, 'grantable', is_grantable)) FROM aclexplode(datacl)),
       'connectionLimit', datconnlimit,
       'bytes', pg_database_size(datname), 'serverVersion', current_setting('server_version'),
       'serverNumber', current_setting('server_version_num')::int)
     FROM pg_database d WHERE datname = ${database}`,
  );
  if (!facts) throw new Failure(`${server.address.uri}: the server does not list the database ${database}`);
  return facts;
}
