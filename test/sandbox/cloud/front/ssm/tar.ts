const BLOCK = 512;

function header(path: string, size: number, mode: number, type: '0' | '5'): Buffer {
  const block = Buffer.alloc(BLOCK);
  // A long path is split at a slash into prefix and name: ustar has 155 and 100 bytes for them.
  const at = path.length <= 100 ? -1 : path.indexOf('/', path.length - 101);
  block.write(path.slice(at + 1), 0, 100);
  block.write(path.slice(0, Math.max(at, 0)), 345, 155);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');
  block.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0`, 100);
  block.write(`${octal(size, 11)}\0${octal(Math.floor(Date.now() / 1000), 11)}\0        ${type}`, 124);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148);
  return block;
}

/** A tar of one executable file that only root may read, and of the directories above it. */
export function tar(path: string, text: string): Buffer {
  const parts = path.split('/').filter(Boolean);
  const blocks = parts
    .slice(2, -1) // those of the system stay as they are
    .map((_, index) => header(`${parts.slice(0, index + 3).join('/')}/`, 0, 0o700, '5'));
  const content = Buffer.from(text);
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
  blocks.push(header(parts.join('/'), content.length, 0o700, '0'), content, padding);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}
