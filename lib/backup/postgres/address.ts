import { Secret } from '../../secret.ts';
import { checkedName, takeName } from '../names.ts';

/** A PostgreSQL database: in a compose service's container, or reached directly. */
export type PostgresAddress = {
  database: string;
  /** The part's name, where `?name=` gives one: two servers may have databases of one name. */
  as?: string;
  uri: string;
} & (
  | { via: 'compose'; service: string; user: string | undefined }
  | { via: 'direct'; env: Record<string, string | Secret> }
);

/** `compose://db/bloaty?user=postgres`: the database `bloaty` in the container of the service `db`. */
export function parseCompose(raw: string): PostgresAddress {
  const { item, as } = takeName(raw);
  const found = /^compose:\/\/([\w.-]+)\/([^?/]+)(?:\?user=([^&]+))?$/.exec(item);
  if (!found) throw new Error('is not compose://SERVICE/DATABASE?user=USER');
  const [, service = '', database = '', user] = found;
  return {
    via: 'compose',
    service,
    database: decodeURIComponent(database),
    user: user === undefined ? undefined : decodeURIComponent(user),
    ...(as === undefined ? {} : { as }),
    uri: raw,
  };
}

/** Query parameters of a URL that libpq reads from the environment. */
const PARAMETERS: Record<string, string> = {
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  connect_timeout: 'PGCONNECT_TIMEOUT',
  options: 'PGOPTIONS',
};

/** `postgres://user:password@host:5432/db?sslmode=require`; the password stays out of everything that is shown. */
export function parseDirect(raw: string): PostgresAddress {
  let url: URL;
  try {
    url = new URL(raw.replace(/^postgres(ql)?:/, 'postgresql:'));
  } catch {
    throw new Error('is no URL; a password with "/", "#", "?" or "@" in it must be percent-encoded');
  }
  const database = decodeURIComponent(url.pathname.slice(1));
  if (!database || !url.hostname) throw new Error('is not postgres://USER:PASSWORD@HOST:PORT/DATABASE');
  const env: Record<string, string | Secret> = { PGHOST: url.hostname, PGPORT: url.port || '5432' };
  if (url.username) env.PGUSER = decodeURIComponent(url.username);
  if (url.password) env.PGPASSWORD = new Secret(decodeURIComponent(url.password));
  const as = url.searchParams.get('name');
  url.searchParams.delete('name');
  for (const [name, value] of url.searchParams) {
    const variable = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
    if (!variable)
      throw new Error(`has the parameter ${name}; known are name, ${Object.keys(PARAMETERS).join(', ')}`);
    env[variable] = value;
  }
  const user = url.username ? `${url.username}@` : '';
  return {
    ...{ via: 'direct', database, env, uri: `postgres://${user}${url.host}/${url.pathname.slice(1)}` },
    ...(as === null ? {} : { as: checkedName(as) }),
  };
}
