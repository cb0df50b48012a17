import { randomBytes } from 'node:crypto';
import { EXIT, Failure } from '../failure.ts';
import { runForSecret } from '../host-files.ts';
import { Secret } from '../secret.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import { ident, psql, session, sql } from '../sql.ts';
import { askedFor, draw, generators, HEX_32, type Made, makeFile, type Template } from './env-template.ts';
import type { Journal, Rotation } from './rotate.ts';
import { openStores } from './secret-stores.ts';
import {
  type EnvFile,
  needFile,
  readSecrets,
  readTemplate,
  type Secrets,
  type SecretsSettings,
  secretsOf,
} from './secrets.ts';
import { containersOf, environments, type Service } from './stale.ts';

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

/** What is done to a role, from within the container of its server. */
interface RoleServer {
  /** What the server stores of its password. */
  verifier(): Promise<Secret>;
  setVerifier(verifier: Secret, host?: Host): Promise<void>;
  /** Whether the role may log in over TCP with this password. */
  admits(password: Secret): Promise<boolean>;
  /** The same with a password that nobody has. */
  admitsAnyone(): Promise<boolean>;
}

function roleServer(host: Host, container: string, role: Role): RoleServer {
  // By the server's socket, where its own user needs no password.
  const bySocket = cmd`${psql('postgres')} --username ${role.superuser}`;
  const socket: Command = cmd`docker exec --interactive ${container} ${bySocket}`;
  const admits = (password: Secret) => login(host, container, role, password);
  return {
    async verifier() {
      const input = session(sql`SELECT rolpassword FROM pg_authid WHERE rolname = ${role.name}`);
      const found = (await runForSecret(host, socket, input)).trim();
      if (found) return new Secret(found);
      throw new Failure(`${role.service}: there is no role ${role.name} with a password`, {
        next: 'correct the user in the URL that the template makes',
      });
    },
    async setVerifier(verifier, on = host) {
      const input = session(sql`ALTER ROLE ${ident(role.name)} PASSWORD ${verifier.reveal()}`);
      await on.run(socket, new Secret(input));
    },
    admits,
    admitsAnyone: () => admits(new Secret(randomBytes(16).toString('hex'))),
  };
}

/**
 * By the service's name, not by 127.0.0.1: PostgreSQL's image trusts everybody who comes from there.
 * @throws CommandFailure when it is not the password that keeps the role out
 */
async function login(host: Host, container: string, role: Role, password: Secret): Promise<boolean> {
  const env = { PGPASSWORD: password, PGCONNECT_TIMEOUT: '10' };
  const passed = ['--env', 'PGPASSWORD', '--env', 'PGCONNECT_TIMEOUT'];
  const asRole = cmd`${psql(role.database)} --no-password --host ${role.service} --username ${role.name}`;
  try {
    await host.run({ ...cmd`docker exec ${passed} ${container} ${asRole} --command ${'SELECT 1'}`, env });
    return true;
  } catch (error) {
    if (error instanceof CommandFailure && /authentication failed/.test(error.stderr)) return false;
    throw error;
  }
}

/** All that a rotation has to do with, looked at before anything is changed. */
export interface Plan {
  readonly rotation: Rotation;
  /** It was begun by another run. */
  readonly continued: boolean;
  readonly file: EnvFile;
  readonly secrets: Secrets;
  readonly roles: ReadonlyArray<{ role: Role; server: RoleServer }>;
  /** The file with the old value, and with the new one. */
  readonly old: string;
  readonly made: Made;
  /** Services that are told the old value, or something that is made of it. */
  readonly users: readonly string[];
}

/** @throws Failure when the secret cannot be rotated as things are */
export async function planRotation(
  name: string,
  settings: SecretsSettings,
  host: Host,
  journal: Journal,
): Promise<Plan> {
  const pending = await journal.pending();
  if (pending && pending.name !== name)
    throw new Failure(`the rotation of ${pending.name}, begun ${pending.began}, has not ended`, {
      next: `npx tsx scripts/server/rotate-secret.ts ${pending.name}`,
    });
  const file = await needFile(host, settings);
  const template = await readTemplate(host, settings);
  const stores = await openStores(settings.SECRETS_FROM ?? [], settings.AWS_REGION);
  const asked = template ? askedFor(template).all : new Set(file.entries.keys());
  const secrets = stores.length > 0 ? await readSecrets(stores) : secretsOf(file.entries, asked);
  const before = pending?.before ?? currentValue(name, secrets, file);
  const services = await environments(host, settings);
  const passwords = [before, ...(pending ? [pending.after] : [])].map((value) => value.reveal());
  const containers = await containersOf(host, settings);
  const servers = new Set(containers.filter((found) => found.isPostgres).map((found) => found.name));
  const roles = reachable(rolesWith(passwords, services, servers), host, containers);
  const after = pending?.after ?? newValue(name, template, roles.length > 0);

  const from = stores.map(({ uri }) => uri).join(' and ') || 'the template';
  const make = (value: Secret) =>
    makeFile(file, template, { ...secrets, values: new Map([...secrets.values, [name, value]]) }, { from });
  const made = make(after);
  const rotation = pending ?? { name, before, after, began: new Date().toISOString(), verifiers: {} };
  return {
    ...{ rotation, continued: pending !== undefined, file, secrets, roles, made },
    old: pending ? make(before).text : (file.text ?? ''),
    users: [...services].filter(([, has]) => tells(has, file, made)).map(([service]) => service),
  };
}

/** Whether a value that changes is told to a service. */
function tells(environment: ReadonlyMap<string, string>, file: EnvFile, { marks }: Made): boolean {
  const changing = [...marks].filter(([, mark]) => mark === '~').map(([name]) => file.entries.get(name));
  return [...environment.values()].some((value) => changing.includes(value));
}

/** @throws Failure unless the store and the file agree on what the secret is */
function currentValue(name: string, { values, stores }: Secrets, file: EnvFile): Secret {
  const value = values.get(name);
  const inFile = file.entries.get(name);
  if (!value)
    throw new Failure(`${stores.map(({ uri }) => uri).join(' and ') || file.path}: ${name} is missing`, {
      exit: EXIT.usage,
      next: 'correct the name',
    });
  if (inFile === undefined || inFile === value.reveal()) return value;
  throw new Failure(`${name} in ${file.path} is another one than in the store`, {
    next: 'find out which is in use: fetch-secrets --check',
  });
}

function newValue(name: string, template: Template | undefined, isPassword: boolean): Secret {
  const generator = template && generators(template).get(name);
  if (generator) return draw(generator);
  if (isPassword) return draw(HEX_32);
  throw new Failure(`${name} is no secret that is generated, and no password of a database of the app`, {
    exit: EXIT.usage,
    next: 'get a new one where it comes from, then push-secrets and fetch-secrets',
  });
}

/** @throws Failure when the server of a role does not run */
function reachable(roles: readonly Role[], host: Host, containers: readonly Service[]) {
  return roles.map((role) => {
    const found = containers.find(({ name, running }) => running && name === role.service);
    if (found) return { role, server: roleServer(host, found.container, role) };
    throw new Failure(`${role.service} does not run, and its role ${role.name} has this password`, {
      next: `docker compose up --detach ${role.service}`,
    });
  });
}
