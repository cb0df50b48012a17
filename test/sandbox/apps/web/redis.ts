import { connect } from 'node:net';

/** One command to Redis over a connection of its own: the app counts, it does not need a pool. */
export async function redis(url: string, ...command: string[]): Promise<string> {
  const { hostname, port, password } = new URL(url);
  const commands = password ? [['AUTH', decodeURIComponent(password)], command] : [command];
  const socket = connect({ host: hostname, port: Number(port || 6379) });
  socket.setTimeout(2000, () => socket.destroy(new Error('Redis does not answer')));
  for (const words of commands) {
    const bulk = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    socket.write(`*${words.length}\r\n${bulk.join('')}`);
  }
  let text = '';
  for await (const chunk of socket) {
    text += chunk;
    // Replies to what is asked here are one line each: +OK, :1, -ERR …
    const lines = text.split('\r\n').slice(0, -1);
    const failed = lines.find((line) => line.startsWith('-'));
    if (failed) throw new Error(`Redis: ${failed.slice(1)}`);
    if (lines.length === commands.length) return lines.at(-1)!.slice(1);
  }
  throw new Error('Redis closed the connection');
}
