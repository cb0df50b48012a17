import { randomBytes } from 'node:crypto';
import { type Command, CommandFailure } from '../../../command.ts';
import { Failure } from '../../../failure.ts';
import type { Host } from '../../../host.ts';
import { Secret } from '../../../secret.ts';
import { runForSecret } from '../../../secret-output.ts';
import { dbname, ident, PSQL, session, sql } from '../../../sql.ts';
import type { Role } from './role.ts';

/** What is done to a role, from within the container of its server. */
export interface RoleServer {
  /** What the server stores of its password. */
  verifier(): Promise<Secret>;
  setVerifier(verifier: Secret, host?: Host): Promise<void>;
  /** Whether the role may log in over TCP with this password. */
  admits(password: Secret): Promise<boolean>;
  /** The same with a password that nobody has. */
  admitsAnyone(): Promise<boolean>;
}

export function roleServer(host: Host, container: string, role: Role): RoleServer {
  // By the server's socket, where its own user needs no password.
  const bySocket = ['--username', role.superuser, ...dbname('postgres')];
  const socket: Command = { argv: ['docker', 'exec', '--interactive', container, ...PSQL, ...bySocket] };
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
  const asRole = ['--host', role.service, '--username', role.name, ...dbname(role.database)];
  const env = { PGPASSWORD: password, PGCONNECT_TIMEOUT: '10' };
  const passed = ['--env', 'PGPASSWORD', '--env', 'PGCONNECT_TIMEOUT'];
  const argv: Command['argv'] = [
    ...(['docker', 'exec', ...passed, container] as const),
    ...[...PSQL, '--no-password', ...asRole, '--command', 'SELECT 1'],
  ] as unknown as Command['argv'];
  try {
    await host.run({ argv, env });
    return true;
  } catch (error) {
    if (error instanceof CommandFailure && /authentication failed/.test(error.stderr)) return false;
    throw error;
  }
}
