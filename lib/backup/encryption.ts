import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ReadableStream as WebStream } from 'node:stream/web';
import { EXIT, Failure } from '../failure.ts';
import type { Secret } from '../secret.ts';

/** An age recipient. */
export const RECIPIENT = /^age1[02-9ac-hj-np-z]{58}$/;

export type Flow = AsyncIterable<Uint8Array>;

/** Encrypts what goes into the store, where there is a recipient. */
export interface Encrypter {
  readonly recipient: string | null;
  /** `.age` or nothing: what a key ends with. */
  readonly suffix: string;
  encrypt(plain: Flow): Promise<Flow>;
  encryptBytes(plain: Uint8Array): Promise<Uint8Array>;
}

/** Decrypts what comes out of it. */
export interface Decrypter {
  decrypt(encrypted: Flow, key: string): Promise<Flow>;
}

/** Encrypts to an age recipient (`age1…`); without one nothing is encrypted. */
export async function encrypter(recipient: string | undefined): Promise<Encrypter> {
  if (recipient === undefined)
    return {
      recipient: null,
      suffix: '',
      encrypt: async (flow) => flow,
      encryptBytes: async (bytes) => bytes,
    };
  const age = new (await import('age-encryption')).Encrypter();
  age.addRecipient(recipient);
  return {
    recipient,
    suffix: '.age',
    encrypt: async (plain) => fromWeb(await age.encrypt(toWeb(plain))),
    encryptBytes: (plain) => age.encrypt(plain),
  };
}

/** Decrypts keys that end with `.age` by the identity (`AGE-SECRET-KEY-1…`); others are passed through. */
export const decrypter = (identity: Secret | undefined): Decrypter => ({
  async decrypt(encrypted, key) {
    if (!key.endsWith('.age')) return encrypted;
    if (!identity) throw new Failure(`${key} is encrypted`, needsIdentity);
    const age = new (await import('age-encryption')).Decrypter();
    age.addIdentity(identity.reveal());
    try {
      return fromWeb(await age.decrypt(toWeb(encrypted)));
    } catch (cause) {
      if (!/no identity matched/.test((cause as Error).message)) throw cause;
      throw new Failure(`${key} is encrypted to another key than BACKUP_IDENTITY_FILE holds`, {
        ...needsIdentity,
        cause,
      });
    }
  },
});

const needsIdentity = {
  exit: EXIT.usage,
  next: 'set BACKUP_IDENTITY_FILE to the file of the age identity that the backups were encrypted to',
} as const;

function toWeb(flow: Flow): ReadableStream<Uint8Array> {
  // Not Readable.toWeb: where the reader gives up in the middle, that throws at nobody and ends the process.
  return ReadableStream.from(flow) as ReadableStream<Uint8Array>;
}

function fromWeb(stream: ReadableStream<Uint8Array>): Flow {
  return Readable.fromWeb(stream as unknown as WebStream<Uint8Array>);
}

export interface Measure {
  bytes: number;
  sha256: string;
}

/** Passes `flow` on and counts its bytes. */
export function counted(flow: Flow): { flow: Flow; bytes(): number } {
  let bytes = 0;
  async function* pass(): AsyncGenerator<Uint8Array> {
    for await (const chunk of flow) {
      bytes += chunk.byteLength;
      yield chunk;
    }
  }
  return { flow: pass(), bytes: () => bytes };
}

/** Passes `flow` on and measures it; the result is there when the flow has ended. */
export function measured(flow: Flow, onBytes?: (total: number) => void): { flow: Flow; result(): Measure } {
  const hash = createHash('sha256');
  let bytes = 0;
  let sha256: string | undefined;
  async function* pass(): AsyncGenerator<Uint8Array> {
    for await (const chunk of flow) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      onBytes?.(bytes);
      yield chunk;
    }
    sha256 = hash.digest('hex');
  }
  return {
    flow: pass(),
    result() {
      if (sha256 === undefined) throw new Error('measured before the flow ended');
      return { bytes, sha256 };
    },
  };
}
