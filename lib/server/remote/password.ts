import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { EXIT, Failure } from '../../failure.ts';
import { Secret } from '../../secret.ts';

/** As strong as a key of 128 bits, and typed without trouble. */
const BYTES = 18;

export interface Password {
  secret: Secret;
  /** Nobody has seen it yet. */
  generated: boolean;
}

/**
 * The password of a new user: asked for without an echo, generated where the answer is empty, or read from standard
 * input where it is said to be there. It is never an argument: those are seen in process lists and histories.
 * @throws Failure with exit 2 when there is nobody to ask
 */
export async function passwordFor(user: string, fromInput: boolean, signal: AbortSignal): Promise<Password> {
  if (fromInput) {
    const line = await firstLine(signal);
    if (line === '')
      throw new Failure('standard input holds no password', {
        exit: EXIT.usage,
        next: 'write one line to it',
      });
    return { secret: new Secret(line), generated: false };
  }
  if (!process.stdin.isTTY)
    throw new Failure(`there is no terminal to ask for the password of ${user} on`, {
      exit: EXIT.usage,
      next: 'say --password-stdin, and write it to standard input',
    });
  const typed = await askSilently(`password of ${user} (empty: one is generated): `, signal);
  if (typed !== '') return { secret: new Secret(typed), generated: false };
  return { secret: new Secret(randomBytes(BYTES).toString('base64url')), generated: true };
}

/** Whoever writes it may keep its end open: nothing behind the line is waited for. */
async function firstLine(signal: AbortSignal): Promise<string> {
  const lines = createInterface({ input: process.stdin, signal });
  try {
    for await (const line of lines) return line;
    signal.throwIfAborted();
    return '';
  } finally {
    lines.close();
  }
}

async function askSilently(question: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(question);
  // readline echoes to its output: this one swallows it.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output, terminal: true });
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    return await new Promise<string>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      terminal.once('close', () => reject(new Failure('no password was given: nothing was done')));
      terminal.question('', resolve);
    });
  } finally {
    process.stderr.write('\n');
    terminal.removeAllListeners('close').close();
  }
}
