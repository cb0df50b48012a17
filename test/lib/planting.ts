import assert from 'node:assert/strict';
import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** What root does in a directory of another, who planted something there. */
export const asRoot = { skip: process.getuid?.() !== 0 && 'not root' };
export const APP_USER = 12345;
export const ID = '20260101-000000';

/** A directory that APP_USER owns, and one of root's, with a file in it. */
export function planted(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'opsbook-planted-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [app, victim] = [join(root, 'app'), join(root, 'victim')];
  for (const directory of [root, app, victim]) mkdirSync(directory, { recursive: true, mode: 0o755 });
  chownSync(root, 0, 0);
  chownSync(app, APP_USER, APP_USER);
  const file = join(victim, 'file');
  writeFileSync(file, "root's", { mode: 0o644 });
  return { app, victim, file };
}

/** Nothing of root's was written, given away or removed. */
export function assertUntouched({ victim, file }: ReturnType<typeof planted>): void {
  assert.deepEqual(readdirSync(victim), ['file']);
  assert.equal(readFileSync(file, 'utf8'), "root's");
  for (const path of [victim, file]) assert.equal(statSync(path).uid, 0, path);
}
