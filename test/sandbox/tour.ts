/**
 * `npm run tour`, told for somebody who sees opsbook first, and its sequels: `npm run tour -- deployments` and
 * `npm run tour -- servers`.
 */
const tours: Record<string, () => Promise<() => Promise<void>>> = {
  recovery: async () => (await import('./tour/recovery.ts')).recovery,
  deployments: async () => (await import('./tour/deployments.ts')).deployments,
  servers: async () => (await import('./tour/servers.ts')).servers,
};

async function run(name = 'recovery'): Promise<void> {
  const load = tours[name];
  if (!load) {
    process.stderr.write(`tour: there is no "${name}"; there are ${Object.keys(tours).join(', ')}\n`);
    process.exitCode = 2;
    return;
  }
  const tour = await load();
  await tour();
}

run(process.argv[2]).catch((error: unknown) => {
  process.stderr.write(
    `tour: ${(error as Error).message}. The sandbox stays up: npm run sandbox -- down ends it\n`,
  );
  process.exitCode = 1;
});
