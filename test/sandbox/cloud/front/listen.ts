import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';

type Handle = (request: IncomingMessage, response: ServerResponse, behind: number) => void;

const HEAD_LIMIT = 64 << 10;

/** S3 is moto's alone: the connection of a client that begins with S3 stays with it, byte for byte. */
const isS3 = (head: string): boolean => /^authorization:.*\/s3\/aws4_request/im.test(head);

/**
 * Listens for AWS clients. A connection whose first request is signed for S3 is joined to moto as it is, so that
 * uploads cost nothing and stay as they were sent; of the others each request is given to `handle`.
 */
export function listen(port: number, motoPort: number, handle: Handle): void {
  const http = createHttpServer((request, response) => handle(request, response, motoPort));
  http.keepAliveTimeout = 60_000; // longer than clients keep a connection that they may use again
  http.requestTimeout = 0;
  createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy()); // the client went away
    firstHead(socket, (head) => {
      if (isS3(head.toString('latin1'))) return join(socket, head, motoPort);
      socket.unshift(head);
      http.emit('connection', socket);
    });
  }).listen(port, '0.0.0.0');
}

/** Listens for engines that push and pull: each request is given to `handle`. */
export function listenPlainly(port: number, registry: number, handle: Handle): void {
  const http = createHttpServer((request, response) => handle(request, response, registry));
  http.requestTimeout = 0;
  http.listen(port, '0.0.0.0');
}

/** Reads as far as the end of the first request's headers. */
function firstHead(socket: Socket, found: (head: Buffer) => void): void {
  let head = Buffer.alloc(0);
  const onReadable = (): void => {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read())
      head = Buffer.concat([head, chunk]);
    if (!head.includes('\r\n\r\n') && head.length < HEAD_LIMIT) return;
    socket.off('readable', onReadable);
    found(head);
  };
  socket.on('readable', onReadable);
}

function join(socket: Socket, head: Buffer, motoPort: number): void {
  const moto = connect({ port: motoPort, host: '127.0.0.1', noDelay: true });
  moto.write(head);
  socket.pipe(moto).pipe(socket);
  moto.on('error', () => socket.destroy());
  moto.on('close', () => socket.destroy());
  socket.on('close', () => moto.destroy());
}
