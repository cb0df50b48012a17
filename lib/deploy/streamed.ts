import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Report } from '../output.ts';
import type { Secret } from '../secret.ts';
import type { Command, Host } from '../shell.ts';

/** Runs a command whose output somebody follows: every line is told as it comes. Returns what it wrote to stdout. */
export async function streamed(
  host: Host,
  command: Command,
  report: Pick<Report, 'info'>,
  input: string | Secret = '',
): Promise<string> {
  const running = host.start(command);
  running.stdin.end(typeof input === 'string' ? input : input.reveal());
  const [written] = await Promise.all([
    linesOf(running.stdout, report),
    linesOf(running.stderr, report),
    running.done,
  ]);
  return written.join('\n');
}

async function linesOf(stream: Readable, report: Pick<Report, 'info'>): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    lines.push(line);
    if (line.trim() !== '') report.info(line);
  }
  return lines;
}
