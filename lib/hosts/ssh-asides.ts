import { Transform } from 'node:stream';

/** What the other side says of a command, apart from what the command says. */
export interface Asides {
  /** The process group to kill; absent when the command did not begin. */
  group?: string;
  /** The exit code; absent when the connection ended before the command did. */
  exit?: number;
  /** What came on stdout before the command began: the last words of a login shell that did not run it. */
  before: string;
  /** Pass the command's own output on. */
  stdout: Transform;
  stderr: Transform;
}

/** Written to stdout where the command's own output begins: what profile files print comes before it. */
export const BEGIN = '\x1eopsbook begin\n';
const ASIDE = /\x1eopsbook (group|exit) (\d+)\n/g;
const LONGEST = 40;
/** So much is kept of what comes before a command's output, in bytes. */
const KEPT = 4_000;

/**
 * Takes our own lines, which begin with a record separator, out of a command's output, and all that comes before
 * them: it is not the command's.
 */
export function asides(): Asides {
  const heard: Asides = {
    before: '',
    stdout: afterBegin((text) => (heard.before = text)),
    stderr: withoutAsides((what, value) => {
      if (what === 'group') heard.group = value;
      else heard.exit = Number(value);
    }),
  };
  return heard;
}

function afterBegin(keep: (before: string) => void): Transform {
  let before: Buffer | undefined = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (!before) return done(null, chunk);
      before = Buffer.concat([before, chunk]);
      const at = before.indexOf(BEGIN);
      if (at < 0) {
        before = before.subarray(-KEPT);
        return done();
      }
      const own = before.subarray(at + BEGIN.length);
      before = undefined;
      return own.length > 0 ? done(null, own) : done();
    },
    flush(done) {
      if (before) keep(before.toString('utf8'));
      done();
    },
  });
}

function withoutAsides(hear: (what: string, value: string) => void): Transform {
  let held = '';
  let begun = false;
  // Latin-1 keeps each byte what it is, whatever alphabet the command writes.
  const push = (text: string) => void filter.push(Buffer.from(text, 'latin1'));
  const filter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      let text = held + chunk.toString('latin1');
      const first = text.search(ASIDE);
      if (!begun && first < 0) {
        held = text.slice(-KEPT);
        return done();
      }
      if (!begun) text = text.slice(first);
      begun = true;
      text = text.replace(ASIDE, (_, what: string, value: string) => {
        hear(what, value);
        return '';
      });
      const mark = text.lastIndexOf('\x1e');
      const whole = mark < 0 || text.length - mark > LONGEST || text.includes('\n', mark);
      held = whole ? '' : text.slice(mark);
      push(whole ? text : text.slice(0, mark));
      done();
    },
    // What ssh itself says, where no command began.
    flush(done) {
      push(held);
      done();
    },
  });
  return filter;
}
