import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { Secret } from '../../../secret.ts';

/** What PostgreSQL's own clients use. */
const ITERATIONS = 4096;

/**
 * What PostgreSQL stores of a password (RFC 5802, RFC 7677): ALTER ROLE takes it in the place of the password, which
 * then is in no log of the server. For ASCII passwords only: others would have to be normalised first (SASLprep).
 */
export function scramVerifier(password: Secret, salt: Buffer = randomBytes(16)): Secret {
  const salted = pbkdf2Sync(password.reveal(), salt, ITERATIONS, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const server = hmac('Server Key').toString('base64');
  return new Secret(`SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${stored}:${server}`);
}
