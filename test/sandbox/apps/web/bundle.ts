import { join } from 'node:path';
import { build } from 'esbuild';
import { sandboxDir } from '../../names.ts';

const dir = join(sandboxDir, 'apps/web');

/** The web app as plain JavaScript: its image needs node and nothing of npm. */
export async function webFiles(): Promise<Record<string, { text: string } | { path: string }>> {
  const { outputFiles } = await build({
    absWorkingDir: dir,
    entryPoints: ['server.ts', 'worker.ts'],
    outdir: dir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    chunkNames: 'chunk-[hash]',
    minify: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // CommonJS in the bundle (pg) calls require.
    banner: {
      js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);",
    },
    external: ['pg-native'],
    write: false,
    logLevel: 'error',
  });
  const files = outputFiles.map((file) => [file.path.slice(dir.length + 1), { text: file.text }]);
  return { ...Object.fromEntries(files), 'schema.sql': { path: join(dir, 'schema.sql') } };
}
