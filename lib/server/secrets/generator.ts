import { randomBytes } from 'node:crypto';
import { Secret } from '../../secret.ts';

/** How a secret is drawn: so many random bytes, written in characters that need no escaping anywhere. */
export interface Generator {
  readonly encoding: 'hex' | 'base64url';
  readonly bytes: number;
}

/** 256 bits, and no character but 0-9 and a-f. */
export const HEX_32: Generator = { encoding: 'hex', bytes: 32 };

/** `hex:32` or `base64url:24`. Plain base64 has `/` and `+`, and `openssl` breaks it into lines. */
export function parseGenerator(kind: string): Generator {
  const [, encoding, count] = /^(hex|base64url):(\d+)$/.exec(kind) ?? [];
  const bytes = Number(count);
  if (!encoding || bytes < 16 || bytes > 512)
    throw new Error(
      `generate:${kind} is not generate:hex:BYTES or generate:base64url:BYTES of 16 to 512 bytes`,
    );
  return { encoding: encoding as Generator['encoding'], bytes };
}

export const draw = ({ encoding, bytes }: Generator): Secret =>
  new Secret(randomBytes(bytes).toString(encoding));
