import { type Command, CommandFailure, cmd } from '../command.ts';
import type { Host } from '../shell.ts';

/** `git`, in the current directory; it never asks for a password. */
export const git: Command = { ...cmd`git`, env: { GIT_TERMINAL_PROMPT: '0' } };

/** What a question to git is answered with; undefined where it exits with 1, which is its no. */
export async function answer(output: Promise<string>): Promise<string | undefined> {
  try {
    return (await output).trim();
  } catch (error) {
    if (error instanceof CommandFailure && error.code === 1) return undefined;
    throw error;
  }
}

/** The files that are not as they were committed, untracked ones among them. */
export async function changedFiles({ $ }: Host): Promise<string[]> {
  const lines = await $`${git} status --porcelain`.lines();
  return lines.map((line) => line.slice(3));
}
