import { isUtf8 } from 'node:buffer';
import type { Hear } from '../../fan-out.ts';
import type { Host } from '../../host.ts';
import { mask } from '../../secret.ts';

const LINE_END = 0x0a;
/** Compose clears the terminal's line before the first of a log, also where there is no terminal (2.26). */
const CLEARED = '\x1b[2K';

/** Hears each line that a host wrote, with its end if it has one. */
type HearLine = (host: Host, stream: 'out' | 'err', line: Buffer) => void;

/**
 * Makes lines of what hosts write, so that theirs do not mix; those that match, where only such are wanted.
 * @returns what hears it, and what is to be called at the end, for a last line without an end
 */
export function lines(
  { grep, ofLogs }: { grep: RegExp | undefined; ofLogs: boolean },
  hearLine: HearLine,
): { hear: Hear; end: () => void } {
  const held = new Map<string, { host: Host; stream: 'out' | 'err'; rest: Buffer }>();
  const tell: HearLine = (host, stream, whole) => {
    const line = ofLogs && whole.indexOf(CLEARED) === 0 ? whole.subarray(CLEARED.length) : whole;
    if (!grep || stream === 'err' || grep.test(line.toString())) hearLine(host, stream, line);
  };
  const hear: Hear = (host, stream, chunk) => {
    const key = `${stream} ${host.target}`;
    let rest = Buffer.concat([held.get(key)?.rest ?? Buffer.alloc(0), chunk]);
    for (let end = rest.indexOf(LINE_END); end >= 0; end = rest.indexOf(LINE_END)) {
      tell(host, stream, rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    held.set(key, { host, stream, rest });
  };
  const end = () => {
    for (const { host, stream, rest } of held.values()) if (rest.length > 0) tell(host, stream, rest);
  };
  return { hear, end };
}

/** Writes a line where its host did, masked if it is text; what is none stays as it is, byte for byte. */
export function writeLine(prefix: (host: Host) => string): HearLine {
  return (host, stream, line) => {
    const to = stream === 'out' ? process.stdout : process.stderr;
    to.write(prefix(host));
    to.write(isUtf8(line) ? mask(line.toString()) : line);
  };
}
