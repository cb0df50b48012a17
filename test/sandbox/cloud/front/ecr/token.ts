import { randomBytes } from 'node:crypto';
import type { State } from '../state.ts';

/** A new password for the user `AWS`, and when it ends. */
export function newToken({ ecr }: State): { password: string; expires: Date } {
  const password = randomBytes(96).toString('base64');
  const expires = new Date(Date.now() + ecr.faults.tokenSeconds * 1000);
  ecr.tokens.set(password, expires);
  return { password, expires };
}

/** What the engine's API wants as X-Registry-Auth to pull by this name. */
export function engineAuth(serveraddress: string, state: State): string {
  const { password } = newToken(state);
  const login = Buffer.from(JSON.stringify({ username: 'AWS', password, serveraddress }));
  // The engine's form is that of URLs, but padded: without it Docker 20.10 takes the login for none.
  return login.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

export type TokenState = 'good' | 'expired' | 'unknown';

/** What an Authorization header of an engine is worth; each time it is asked counts for `expireAfter`. */
export function checkToken(header: string, { ecr }: State): TokenState {
  const [user, password = ''] = splitOnce(Buffer.from(header.replace(/^Basic /i, ''), 'base64').toString());
  const expires = ecr.tokens.get(password);
  if (user !== 'AWS' || !expires) return 'unknown';
  if (ecr.faults.expireAfter === 0) {
    for (const each of ecr.tokens.keys()) ecr.tokens.set(each, new Date(0));
    ecr.faults.expireAfter = -1;
  } else if (ecr.faults.expireAfter > 0) ecr.faults.expireAfter -= 1;
  return (ecr.tokens.get(password) ?? expires) > new Date() ? 'good' : 'expired';
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf(':');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
