import type { Command, CommandFailure } from '../command.ts';
import { Failure } from '../failure.ts';
import { mask } from '../secret.ts';
import type { Asides } from './ssh-asides.ts';

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

/**
 * What is wrong with how ssh ended. Without the exit code that the other side tells there is no success: a login shell
 * that did not run the command may end with 0.
 * @param failure what is wrong by ssh's own exit code, if anything
 */
export function connectionFailure(
  code: number | null,
  failure: CommandFailure | undefined,
  { command, name, said }: { command: Command; name: string; said: Asides },
): Failure | undefined {
  if (said.exit === code || (failure && code === null)) return failure;
  const cause = { cause: failure };
  if (said.group !== undefined)
    return new Failure(`${name}: the connection was lost while ${command.argv[0]} ran`, {
      next: 'look at the host: whether the command ended is not known',
      ...cause,
    });
  const stderr = failure?.stderr ?? '';
  for (const [pattern, why, next] of CAUSES)
    if (pattern.test(stderr))
      return new Failure(`${name} cannot be reached: ${why}`, { next: next(name), ...cause });
  const words = said.before.trim().split('\n').at(-1) || (failure?.words ?? 'its login shell ended first');
  return new Failure(`${name} did not run ${command.argv[0]}: ${mask(words)}`, {
    next: `try it by hand: ssh ${name} true; then look at the login shell of that user and its profile files`,
    ...cause,
  });
}
