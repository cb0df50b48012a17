import { CommandFailure } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { PostgresAddress } from './address.ts';

/** Makes of what psql or pg_dump said a failure that names the database and what to do. */
export function explained(error: unknown, { uri, database, via }: PostgresAddress): unknown {
  if (!(error instanceof CommandFailure)) return error;
  // pg_dump quotes the server in a line of its own, behind what it was doing.
  const quoted = /Error message from server: (.+)/.exec(error.stderr)?.[1];
  const words = quoted ? `${error.message.replace(/[.]$/, '')}: ${quoted}` : error.message;
  const known: Array<[RegExp, string]> = [
    [/database .* does not exist/, 'correct the name in BACKUP_DATABASES'],
    [/password authentication failed|no password supplied/, 'correct the password in BACKUP_DATABASES'],
    [/role .* does not exist/, 'correct the user in BACKUP_DATABASES'],
    [
      /could not connect|connection .* failed|could not translate|timeout expired/i,
      'see that the server runs',
    ],
    [
      /terminating connection|server closed the connection|was killed|exited with 137/,
      'see the log of the database, then run it again',
    ],
    [/lock timeout/, 'see who holds a lock (pg_locks): a migration, VACUUM FULL; then run it again'],
    [/permission denied/, 'grant it: GRANT pg_read_all_data TO the role of the backup'],
    [
      /command not found/,
      via === 'direct' ? "install the server's client: postgresql-client" : 'install Docker',
    ],
  ];
  const match = known.find(([pattern]) => pattern.test(words));
  if (!match) return new Failure(`${uri}: ${words}`, { next: error.next ?? '', cause: error });
  const usage = /does not exist|password/.test(words);
  return new Failure(`${uri}: ${words.replace(/^.*?(error|FATAL): +/i, '')} (database ${database})`, {
    next: match[1],
    exit: usage ? EXIT.usage : EXIT.failed,
    cause: error,
  });
}
