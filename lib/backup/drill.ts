import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../definition.ts';
import { EXIT, Failure } from '../failure.ts';
import { bytes, duration, table } from '../format.ts';
import { removeTree } from './file-system.ts';
import type { Manifest, Restorer } from './manifest.ts';
import { bringAll, discardAll, rememberDrill } from './restore.ts';
import { isDamage } from './transfer.ts';

/** What a drill found of one part. */
interface Proof {
  kind: string;
  name: string;
  bytes: number;
  ms: number;
  /** What differs from the manifest; empty where the part is proven. */
  differences: string[];
}

export interface DrillResult {
  id: string;
  ms: number;
  parts: Proof[];
}

/** Restores each part by itself into a throw-away place, compares it, and removes it again. */
export async function drill(
  { id }: Manifest,
  restorers: readonly Restorer[],
  stateDir: string,
  context: Pick<Context, 'change' | 'dryRun'>,
): Promise<DrillResult> {
  if (!context.dryRun) await clearDrills(stateDir);
  const parts: Proof[] = [];
  for (const restorer of restorers) parts.push(await prove(restorer, context));
  const ms = parts.reduce((sum, part) => sum + part.ms, 0);
  const equal = parts.every((part) => part.differences.length === 0);
  if (!context.dryRun)
    rememberDrill(stateDir, { id, at: new Date().toISOString(), ms: Math.round(ms), equal });
  return { id, ms, parts };
}

/** Removes what killed drills left: each would be a copy of the app's files that nobody misses until the disk is full. */
async function clearDrills(stateDir: string): Promise<void> {
  for (const name of await readdir(stateDir))
    if (/^drill-\d{8}-\d{6}/.test(name)) await removeTree(join(stateDir, name));
}

async function prove(restorer: Restorer, context: Pick<Context, 'change'>): Promise<Proof> {
  const { kind, name, bytesIn } = restorer.part;
  const proof: Proof = { kind, name, bytes: bytesIn, ms: 0, differences: [] };
  const started = performance.now();
  try {
    const brought = await bringAll([restorer], context, 'into a throw-away place');
    proof.differences = brought.flatMap((one) => one.differences);
    proof.ms = performance.now() - started;
    await discardAll(brought);
  } catch (error) {
    // A damaged backup is what a drill looks for; a store or server that does not answer is not.
    if (!isDamage(error)) throw error;
    proof.differences = [error.message];
    proof.ms = performance.now() - started;
  }
  return proof;
}

export function describeDrill({ id, ms, parts }: DrillResult): string {
  const rows = parts.map((p) => [
    ...[p.kind, p.name, bytes(p.bytes), duration(p.ms)],
    p.differences.length === 0 ? 'equal' : `DIFFERS: ${p.differences[0]}`,
  ]);
  return `drill of ${id}: ${duration(ms)}\n${table([['part', 'name', 'size', 'time', 'result'], ...rows], [2, 3])}`;
}

/** @throws Failure with exit 3 when a part is not what its manifest says */
export function refuseUnproven({ id, parts }: DrillResult): void {
  const [bad] = parts.filter((part) => part.differences.length > 0);
  if (!bad) return;
  throw new Failure(`backup ${id} is not proven: ${bad.kind} ${bad.name}: ${bad.differences[0]}`, {
    exit: EXIT.problem,
    next: 'drill the one before it, and take a new backup: npx tsx scripts/backup/backup.ts',
  });
}
