import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Command } from '../command.ts';
import type { Report } from '../output.ts';
import type { Host, Running } from '../shell.ts';

/** Runs a command whose output somebody follows: every line is reported as it comes. Returns what it wrote to stdout. */
export function streamed(host: Host, command: Command, report: Pick<Report, 'info'>): Promise<string> {
  const running = host.start(command);
  running.stdin.end();
  return follow(running, (line) => report.info(line));
}

/** Hands over each line of a running command that is not empty. @returns what it wrote to stdout, when it ended well */
export async function follow(running: Running, onLine: (line: string) => void): Promise<string> {
  const { stdout, stderr, done } = running;
  const [lines] = await Promise.all([linesOf(stdout, onLine), linesOf(stderr, onLine), done]);
  return lines.join('\n');
}

async function linesOf(stream: Readable, onLine: (line: string) => void): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    lines.push(line);
    if (line.trim() !== '') onLine(line);
  }
  return lines;
}
