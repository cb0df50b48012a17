/* The front of the sandbox's AWS: one process beside moto, in its container. */

import { registryPort } from './ecr/address.ts';
import { listen, listenPlainly } from './listen.ts';
import { route, routeRegistry } from './route.ts';

const [port = '5000', moto = '5001', registry = '5002'] = process.argv.slice(2);
listen(Number(port), Number(moto), route);
listenPlainly(registryPort, Number(registry), routeRegistry);
