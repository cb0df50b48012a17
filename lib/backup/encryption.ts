import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ReadableStream as WebStream } from 'node:stream/web';
import { EXIT, Failure } from '../failure.ts';
import type { Secret } from '../secret.ts';

/** An age recipient. */
export const RECIPIENT = /^age1[02-9ac-hj-np-z]{58}$/;

export type Flow = AsyncIterable<Uint8Array>;

/** Encrypts what goes into the store, where there is a recipient. */
export interface Sealer {
  readonly recipient: string | null;
  /** `.age` or nothing: what a key ends with. */
  readonly suffix: string;
  seal(plain: Flow): Promise<Flow>;
  sealBytes(plain: Uint8Array): Promise<Uint8Array>;
}

/** Decrypts what comes out of it. */
export interface Opener {
  open(sealed: Flow, key: string): Promise<Flow>;
}

const plainSealer: Sealer = {
  recipient: null,
  suffix: '',
  seal: async (plain) => plain,
  sealBytes: async (plain) => plain,
};

/** An age recipient (`age1…`) as a sealer; without one nothing is encrypted. */
export async function sealer(recipient: string | undefined): Promise<Sealer> {
  if (recipient === undefined) return plainSealer;
  const { Encrypter } = await import('age-encryption');
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return {
    recipient,
    suffix: '.age',
    seal: async (plain) => fromWeb(await encrypter.encrypt(toWeb(plain))),
    sealBytes: (plain) => encrypter.encrypt(plain),
  };
}

/** Opens keys that end with `.age` by the identity (`AGE-SECRET-KEY-1…`); others are passed through. */
export async function opener(identity: Secret | undefined): Promise<Opener> {
  return {
    async open(sealed, key) {
      if (!key.endsWith('.age')) return sealed;
      if (!identity) throw new Failure(`${key} is encrypted`, needsIdentity);
      const { Decrypter } = await import('age-encryption');
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity.reveal());
      try {
        return fromWeb(await decrypter.decrypt(toWeb(sealed)));
      } catch (cause) {
        if (!/no identity matched/.test((cause as Error).message)) throw cause;
        throw new Failure(`${key} is encrypted to another key than BACKUP_IDENTITY_FILE holds`, {
          ...needsIdentity,
          cause,
        });
      }
    },
  };
}

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
