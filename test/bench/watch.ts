import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

/** What was seen of the processes of a run. */
export interface Seen {
  /** Peak resident memory of the process that runs the script, in bytes. */
  peak: number;
  /** Regular files that were open for writing, by path, with the most bytes that each had. */
  written: Map<string, number>;
}

const EVERY_MS = 250;
const ACCESS_MODE = 0o3;

/**
 * Looks at a process and its descendants, and at every other one whose command line matches `also` (pg_dump
 * in its container), until it is stopped. Memory is the kernel's own high-water mark, so that looking now and then is enough.
 */
export function watchProcess(pid: number, script: string, also?: string): { stop(): Seen } {
  const seen: Seen = { peak: 0, written: new Map() };
  const others = also === undefined ? undefined : new RegExp(also);
  const look = () => {
    for (const one of descendants(pid)) {
      if (commandLine(one).includes(script)) seen.peak = Math.max(seen.peak, highWater(one));
      noteFiles(one, seen.written);
    }
    if (!others) return;
    for (const one of processes()) if (others.test(commandLine(one))) noteFiles(one, seen.written);
  };
  const timer = setInterval(look, EVERY_MS);
  return {
    stop() {
      clearInterval(timer);
      return seen;
    },
  };
}

/** A process that ended meanwhile has nothing to show. */
function whileThere<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

const text = (path: string): string => whileThere(() => readFileSync(path, 'utf8'), '');

const processes = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
const commandLine = (pid: number): string => text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');

function descendants(pid: number): number[] {
  const tasks = whileThere(() => readdirSync(`/proc/${pid}/task`), []);
  const children = tasks.flatMap((task) =>
    text(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean),
  );
  return [pid, ...children.flatMap((child) => descendants(Number(child)))];
}

const highWater = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;

function noteFiles(pid: number, written: Map<string, number>): void {
  for (const fd of whileThere(() => readdirSync(`/proc/${pid}/fd`), [])) {
    const flags = Number.parseInt(/^flags:\s+(\d+)/m.exec(text(`/proc/${pid}/fdinfo/${fd}`))?.[1] ?? '0', 8);
    if ((flags & ACCESS_MODE) === 0) continue;
    whileThere(() => {
      const stats = statSync(`/proc/${pid}/fd/${fd}`);
      const path = readlinkSync(`/proc/${pid}/fd/${fd}`);
      if (stats.isFile()) written.set(path, Math.max(written.get(path) ?? 0, stats.size));
    }, undefined);
  }
}
