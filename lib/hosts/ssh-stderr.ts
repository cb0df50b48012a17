import { Transform } from 'node:stream';

/** What the other side says of a command, apart from what the command says. */
export interface Asides {
  /** The process group to kill. */
  group?: string;
  /** The exit code; absent when the connection ended before the command did. */
  exit?: number;
  /** Passes stderr on without them. */
  filter: Transform;
}

const ASIDE = /\x1eopsbook (group|exit) (\d+)\n/g;
const LONGEST = 40;

/** Takes our own lines, which begin with a record separator, out of a command's stderr. */
export function asides(): Asides {
  let held = '';
  // Latin-1 keeps each byte what it is, whatever alphabet the command writes.
  const push = (text: string) => void filter.push(Buffer.from(text, 'latin1'));
  const filter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const text = (held + chunk.toString('latin1')).replace(ASIDE, (_, what: string, value: string) => {
        if (what === 'group') heard.group = value;
        else heard.exit = Number(value);
        return '';
      });
      const mark = text.lastIndexOf('\x1e');
      const whole = mark < 0 || text.length - mark > LONGEST || text.includes('\n', mark);
      held = whole ? '' : text.slice(mark);
      push(whole ? text : text.slice(0, mark));
      done();
    },
    flush(done) {
      push(held);
      done();
    },
  });
  const heard: Asides = { filter };
  return heard;
}
