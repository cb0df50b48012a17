import { join } from 'node:path';
import { build } from 'esbuild';
import { sandboxDir } from '../../names.ts';

/** The front as one file of plain JavaScript, for the image that it runs in. */
export async function frontFiles(): Promise<Record<string, { text: string }>> {
  const { outputFiles } = await build({
    absWorkingDir: join(sandboxDir, 'cloud/front'),
    entryPoints: ['main.ts'],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    write: false,
    logLevel: 'error',
  });
  return { 'front.mjs': { text: outputFiles[0]!.text } };
}
