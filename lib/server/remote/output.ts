import { isUtf8 } from 'node:buffer';
import type { Hear } from '../../fan-out.ts';
import { mask } from '../../secret.ts';

const LINE_END = 0x0a;

interface Shape {
  /** Before each line, where several hosts speak. */
  prefix: (name: string) => string;
  /** Which lines are shown; all unless told. */
  grep?: RegExp | undefined;
}

/**
 * Passes on what hosts write, line by line so that their lines do not mix, and masked where it is text; what is none
 * stays as it is, byte for byte.
 * @returns what hears it, and what is to be called at the end, for a last line without an end
 */
export function passOn({ prefix, grep }: Shape): { hear: Hear; end: () => void } {
  const held = new Map<string, Buffer>();
  const write = (key: string, name: string, line: Buffer) => {
    const text = isUtf8(line);
    if (grep && !grep.test(line.toString(text ? 'utf8' : 'latin1'))) return;
    const stream = key.startsWith('out') ? process.stdout : process.stderr;
    stream.write(prefix(name));
    stream.write(text ? mask(line.toString('utf8')) : line);
  };
  const names = new Map<string, string>();
  const hear: Hear = (host, stream, chunk) => {
    const key = `${stream} ${host.target}`;
    names.set(key, host.name);
    let rest = Buffer.concat([held.get(key) ?? Buffer.alloc(0), chunk]);
    for (let end = rest.indexOf(LINE_END); end >= 0; end = rest.indexOf(LINE_END)) {
      write(key, host.name, rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    held.set(key, rest);
  };
  const end = () => {
    for (const [key, rest] of held) if (rest.length > 0) write(key, names.get(key) ?? '', rest);
  };
  return { hear, end };
}
