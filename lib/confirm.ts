import { createInterface } from 'node:readline/promises';
import { EXIT, Failure } from './failure.ts';

/**
 * Asks on the terminal, and resolves only to go on.
 * @throws Failure when the answer is not yes; with exit 2 when there is no terminal
 */
export async function ask(question: string, signal: AbortSignal): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new Failure(`${question} There is no terminal to ask on`, { exit: EXIT.usage, next: 'say --yes' });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // readline makes Ctrl-C its own event; it has to stay a signal.
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    // Ctrl-D rejects.
    const answer = await terminal.question(`${question} [y/N] `, { signal }).catch(() => '');
    signal.throwIfAborted();
    if (!/^y(es)?$/i.test(answer.trim())) throw new Failure('not confirmed: nothing was changed');
  } finally {
    terminal.close();
  }
}
