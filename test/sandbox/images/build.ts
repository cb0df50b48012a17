import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Engine, engineEnv } from '../machine/engine.ts';
import { cacheDir, directory, imageRepository, label, SandboxError, sandboxDir } from '../names.ts';
import { step } from '../progress.ts';

/** One image: a directory with a Dockerfile, and what is only known on this machine. */
export interface ImageSpec {
  name: string;
  /** the directory under test/sandbox/images */
  context: string;
  /** the tag that it starts from, given to the Dockerfile as this build argument */
  from: { arg: string; tag: string };
  args?: Record<string, string>;
  /** files that are added to the context: name → text, or the path of a file to copy */
  files?: Record<string, { text: string } | { path: string }>;
}

async function contextFiles(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const contextDir = (spec: ImageSpec): string => join(sandboxDir, 'images', spec.context);

/** The tag is made from all that goes into the image: when a Dockerfile changes, so does the tag. */
export async function imageTag(spec: ImageSpec): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([spec.from, spec.args ?? {}]));
  for (const file of await contextFiles(contextDir(spec)))
    hash.update(file.slice(sandboxDir.length)).update(await readFile(file));
  for (const [name, file] of Object.entries(spec.files ?? {})) {
    hash.update(name).update('text' in file ? file.text : await readFile(file.path));
  }
  return `${imageRepository}/${spec.name}:${hash.digest('hex').slice(0, 12)}`;
}

/** Builds one image; the whole output goes to a log file of which a failure shows the end. */
export async function buildImage(engine: Engine, spec: ImageSpec, tag: string): Promise<void> {
  await step(`building the image ${spec.name}`, async () => {
    const context = join(directory(cacheDir, 'build'), spec.name);
    await rm(context, { recursive: true, force: true });
    await cp(contextDir(spec), context, { recursive: true });
    for (const [name, file] of Object.entries(spec.files ?? {})) {
      if ('text' in file) await writeFile(join(context, name), file.text);
      else await cp(file.path, join(context, name));
    }
    const args = Object.entries({ [spec.from.arg]: spec.from.tag, ...spec.args });
    const log = join(directory(cacheDir, 'logs'), `build-${spec.name}.log`);
    // The network of the machine: where names resolve and proxies are local to it, a container's would not do.
    const build = execa(
      'docker',
      ['build', '--network', 'host', '--label', `${label}=image`, '--tag', tag]
        .concat(args.flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]))
        .concat(proxyArgs(), context),
      { env: engineEnv(engine), extendEnv: false, reject: false, all: true },
    );
    build.all.pipe(createWriteStream(log));
    const { exitCode, all } = await build;
    await rm(context, { recursive: true, force: true });
    if (exitCode === 0) return;
    const end = all.trim().split('\n').slice(-15).join('\n');
    throw new SandboxError(`building the image ${spec.name} failed (whole log: ${log})\n${end}`);
  });
}

function proxyArgs(): string[] {
  const names = ['http_proxy', 'https_proxy', 'no_proxy'];
  return names.filter((name) => process.env[name]).flatMap((name) => ['--build-arg', name]);
}
