import { EXIT, Failure } from '../../../failure.ts';
import type { Service } from '../containers.ts';

/** A role of a PostgreSQL server that runs as a service of the app. */
export interface Role {
  readonly service: string;
  readonly name: string;
  /** A database that it may log in to. */
  readonly database: string;
  /** Who may alter it, by the server's own socket. */
  readonly superuser: string;
}

type Environments = ReadonlyMap<string, Service['environment']>;

/**
 * The roles whose password is one of `passwords`, as the services' environments tell: the one that a PostgreSQL image
 * is started with, and those in the URLs by which services log in. `servers` are the services that are such an image:
 * with `env_file:` every service has the variable.
 * @throws Failure when a URL leads to a server that is none of the app's services, or no server is found
 */
export function rolesWith(
  passwords: readonly string[],
  services: Environments,
  servers: ReadonlySet<string>,
): Role[] {
  const roles = [...services].flatMap(([service, environment]) => [
    ...(servers.has(service) ? ofImage(service, environment, passwords) : []),
    ...[...environment].flatMap(([variable, text]) => ofUrl(service, variable, text, passwords, services)),
  ]);
  const told = [...services].find(([, has]) => passwords.includes(has.get('POSTGRES_PASSWORD') ?? ''));
  if (roles.length === 0 && told)
    throw new Failure(`${told[0]} is told the password of a PostgreSQL server, and none has a container`, {
      next: 'start the database: docker compose up --detach',
    });
  return [...new Map(roles.map((role) => [`${role.service} ${role.name}`, role])).values()];
}

/** What the image of PostgreSQL, and those made like it, take the first password from. */
function ofImage(service: string, environment: Service['environment'], passwords: readonly string[]): Role[] {
  if (!passwords.includes(environment.get('POSTGRES_PASSWORD') ?? '')) return [];
  const name = superuserOf(environment);
  return [{ service, name, database: environment.get('POSTGRES_DB') ?? name, superuser: name }];
}

const superuserOf = (environment: Service['environment'] | undefined) =>
  environment?.get('POSTGRES_USER') ?? 'postgres';

function ofUrl(
  service: string,
  variable: string,
  text: string,
  passwords: readonly string[],
  services: Environments,
): Role[] {
  if (!/^postgres(ql)?(\+\w+)?:\/\//.test(text) || !URL.canParse(text)) return [];
  const { username, password, hostname, pathname } = new URL(text);
  if (!passwords.includes(decodeURIComponent(password))) return [];
  if (!services.has(hostname))
    throw new Failure(`${variable} of ${service} leads to ${hostname}, which is no service of the app`, {
      exit: EXIT.usage,
      next: 'change the password there, then push-secrets and fetch-secrets',
    });
  const name = decodeURIComponent(username);
  const database = decodeURIComponent(pathname.slice(1)) || name;
  return [{ service: hostname, name, database, superuser: superuserOf(services.get(hostname)) }];
}
