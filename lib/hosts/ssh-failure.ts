import type { CommandFailure } from '../command.ts';
import { Failure } from '../failure.ts';
import type { Asides } from './ssh-stderr.ts';

/** What ssh says, what it means, and what to do about it; the first that fits. */
const CAUSES: ReadonlyArray<[RegExp, string, (name: string) => string]> = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    'its host key is another than the known one',
    (name) =>
      `find out why before you go on; if the host was replaced: ssh-keygen -R ${bare(name)}, then add its new key`,
  ],
  [
    /Host key verification failed|No .* host key is known/,
    'its host key is not known here',
    (name) =>
      `compare its fingerprint with the provider's, then: ssh-keyscan ${bare(name)} >> ~/.ssh/known_hosts`,
  ],
  [
    /Permission denied \(/,
    'it does not accept our key',
    () => 'set SSH_IDENTITY_FILE, or start an ssh-agent that has the key; the user is the one of the target',
  ],
  [/Could not resolve hostname/, 'its name is not known', () => 'correct TARGET'],
  [/Connection refused/, 'nothing listens there', () => 'check the port of TARGET, and that sshd runs'],
  [
    /timed out|No route to host|unreachable/i,
    'it does not answer',
    () => 'check that it runs, and its firewall',
  ],
];

const bare = (name: string) => name.replace(/^.*@/, '');

/** A failure of ssh itself as what it is; that of a command stays as it was. */
export function connectionFailure(failure: CommandFailure, name: string, said: Asides): Failure {
  if (said.exit !== undefined || failure.code === null) return failure;
  if (said.group !== undefined)
    return new Failure(`${name}: the connection was lost while ${failure.command.argv[0]} ran`, {
      next: 'look at the host: whether the command ended is not known',
      cause: failure,
    });
  for (const [pattern, cause, next] of CAUSES)
    if (pattern.test(failure.stderr))
      return new Failure(`${name} cannot be reached: ${cause}`, { next: next(name), cause: failure });
  return new Failure(`${name} cannot be reached: ${failure.words}`, {
    next: `try it by hand: ssh ${name} true`,
    cause: failure,
  });
}
