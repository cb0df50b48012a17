import { bytes, grouped } from '../../../format.ts';
import { ok, problem, type Row, warning } from '../row.ts';

/** Parts of a file system in use from which on it is a warning, and a problem. */
const FILLING = 0.8;
const FULL = 0.9;

interface FileSystem {
  mount: string;
  used: number;
  free: number;
}

/** What is always full, is nobody's disk, or is another one's seen again. */
const PASSED_OVER = /^(squashfs|iso9660|devtmpfs|efivarfs|fuse\.snapfuse)$/;
const NOT_A_DISK = /^\/(dev|proc|sys|run|snap|boot\/efi)(\/|$)|\/(overlay2|containers|netns|overlayfs)\//;

/** The file systems in the output of `df -PT`, each once. */
export function parseFileSystems(text: string): FileSystem[] {
  const found = new Map<string, FileSystem>();
  for (const line of text.split('\n')) {
    const [, type = '', used = '', free = '', mount = ''] =
      /^.+?\s+(\S+)\s+\d+\s+(\d+)\s+(\d+)\s+\d+%\s+(\/.*)$/.exec(line) ?? [];
    if (mount === '' || PASSED_OVER.test(type) || NOT_A_DISK.test(mount)) continue;
    if (Number(used) + Number(free) > 0) found.set(mount, { mount, used: Number(used), free: Number(free) });
  }
  return [...found.values()];
}

const part = ({ used, free }: FileSystem) => used / (used + free);
const percent = (x: number) => `${Math.round(x * 100)} %`;

function fillRows(check: string, text: string, free: (system: FileSystem) => string, todo: string): Row[] {
  const systems = parseFileSystems(text).sort((a, b) => part(b) - part(a));
  const expected = `less than ${percent(FULL)} used`;
  const found = (one: FileSystem) => `${one.mount} is ${percent(part(one))} used, ${free(one)} free`;
  const full = systems.filter((one) => part(one) >= FULL);
  const filling = systems.filter((one) => part(one) >= FILLING && part(one) < FULL);
  if (full.length + filling.length > 0)
    return [
      ...full.map((one) => problem(check, found(one), expected, todo)),
      ...filling.map((one) => warning(check, found(one), expected, todo)),
    ];
  const [fullest] = systems;
  return fullest ? [ok(check, found(fullest), expected)] : [];
}

/** Room on every disk, of `df -PkT`. */
export const diskRows = (text: string): Row[] =>
  fillRows(
    'disk',
    text,
    ({ free }) => bytes(free * 1024),
    // Not "docker system prune": it takes the images with it that a rollback needs, and volumes of what is stopped.
    'find what fills it: du -xh --max-depth=2 MOUNT | sort -h; docker system df',
  );

/** Inodes: a disk with room for bytes and none for files is full all the same. */
export const inodeRows = (text: string): Row[] =>
  fillRows(
    'inodes',
    text,
    ({ free }) => grouped(free),
    'find where the many files are: du --inodes -x --max-depth=2 MOUNT | sort -n',
  );

/** Part of the memory that should be available. */
const SCARCE = 0.1;
const USED_UP = 0.05;
/** Part of the swap in use from which on the machine is short of memory. */
const SWAPPING = 0.8;
/** With less memory than this, in kB, a build or a restore ends a container. */
const SMALL_KB = 2_100_000;

function meminfo(text: string): (name: string) => number {
  return (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
}

/** Memory that is available without swapping, of /proc/meminfo. */
export function memoryRows(text: string): Row[] {
  const kb = meminfo(text);
  const [total, available] = [kb('MemTotal'), kb('MemAvailable')];
  const found = `${bytes(available * 1024)} of ${bytes(total * 1024)} available`;
  const expected = `${percent(SCARCE)} or more available`;
  const todo = 'see who has it: docker stats --no-stream; ps -eo rss,args --sort -rss | head';
  if (available / total < USED_UP) return [problem('memory', found, expected, todo)];
  if (available / total < SCARCE) return [warning('memory', found, expected, todo)];
  return [ok('memory', found, expected)];
}

/** Swap: none on a small machine, or used up. */
export function swapRows(text: string): Row[] {
  const kb = meminfo(text);
  const [total, free] = [kb('SwapTotal'), kb('SwapFree')];
  if (total === 0) {
    const expected = 'some, on a machine with little memory';
    if (kb('MemTotal') > SMALL_KB) return [ok('swap', 'none, and enough memory', expected)];
    const found = `none, and only ${bytes(kb('MemTotal') * 1024)} of memory`;
    return [warning('swap', found, expected, 'run the set-up: it adds swap to small machines')];
  }
  const used = (total - free) / total;
  const found = `${percent(used)} of ${bytes(total * 1024)} used`;
  const expected = `less than ${percent(SWAPPING)} used`;
  if (used < SWAPPING) return [ok('swap', found, expected)];
  return [problem('swap', found, expected, 'see who has it: docker stats --no-stream; add memory')];
}
