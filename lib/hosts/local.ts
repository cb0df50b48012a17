import { hostname } from 'node:os';
import type { Command } from '../command.ts';
import type { Host, HostOptions } from '../host.ts';
import type { Secret } from '../secret.ts';
import { type Launch, launch, runToEnd } from './process.ts';

interface LocalOptions extends HostOptions {
  killAfterMs?: number;
}

/** The machine that the script runs on. */
export function localHost({ signal, onStart, killAfterMs = 5_000 }: LocalOptions = {}): Host {
  const start = (command: Command) => {
    signal?.throwIfAborted();
    onStart?.(command);
    return launch(command, asRoot(command), { signal, killAfterMs });
  };
  return {
    ...{ name: hostname(), target: 'local' },
    start,
    get uninterrupted() {
      return localHost({ onStart });
    },
    run: async (command, input) => runToEnd(start(command), input),
  };
}

function asRoot({ argv, env = {}, cwd, root }: Command): Launch {
  const shown = { env: revealed(env), cwd };
  if (!root || process.getuid?.() === 0) return { argv, ...shown };
  return { argv: ['sudo', '-n', `--preserve-env=${Object.keys(env).join(',')}`, '--', ...argv], ...shown };
}

/** An environment as the kernel gets it. */
export function revealed(env: Readonly<Record<string, string | Secret>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, typeof value === 'string' ? value : value.reveal()]),
  );
}
