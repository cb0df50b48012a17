/* The app of the tests of ECS: a version that works, or is broken in one way. */
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const { VERSION, ANSWERS = VERSION, MODE = 'good', GREETING = '' } = process.env;
const [, , command, ...words] = process.argv;

if (command === 'migrate') {
  console.log(`migrating to ${VERSION}`);
  if (words[0] === 'hang') await sleep(600_000);
  if (words[0] === 'fail') console.error('migration failed: relation "meals" does not exist');
  process.exit(words[0] === 'fail' ? 9 : 0);
}
if (MODE === 'crash') {
  console.log(`version ${VERSION} starts`);
  console.log('cannot reach postgres://app:Loud-Secret-1@db/meals\x1b[0m');
  console.error('fatal: no such table: meals');
  process.exit(7);
}

const server = createServer(async (request, response) => {
  const well = MODE !== 'sick';
  if (request.url.startsWith('/health')) return response.writeHead(well ? 200 : 503).end(`${MODE}\n`);
  await sleep(20); // so that there are always requests in flight
  const body = JSON.stringify({ version: ANSWERS, greeting: GREETING });
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
});
server.keepAliveTimeout = 65_000; // longer than a load balancer keeps a connection
process.once('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
server.listen(8000, () => console.log(`version ${VERSION} listens, ${MODE}`));
if (MODE === 'dies')
  setTimeout(() => {
    console.error('fatal: out of sockets');
    process.exit(3);
  }, 5000);
