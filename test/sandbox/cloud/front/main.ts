/* The front of the sandbox's AWS: one process beside moto, in its container. */
import { listen } from './listen.ts';
import { route } from './route.ts';

const [port = '5000', moto = '5001'] = process.argv.slice(2);
listen(Number(port), Number(moto), route);
