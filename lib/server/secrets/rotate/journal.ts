import { Failure } from '../../../failure.ts';
import type { Host } from '../../../host.ts';
import { readHostFile, writeHostFile } from '../../../host-files.ts';
import { parseSecret, Secret } from '../../../secret.ts';
import { stateFileOn } from '../../../state.ts';

/** A rotation that began: all that is needed to end it, or to undo it, by another run. */
export interface Rotation {
  readonly name: string;
  readonly before: Secret;
  readonly after: Secret;
  readonly began: string;
  /** What the server stored of the old password, by `SERVICE ROLE`. */
  readonly verifiers: Readonly<Record<string, Secret>>;
}

/** What the app's host remembers of a rotation until it has ended; its file is as closed as the env file. */
export interface Journal {
  /** The rotation that another run began and did not end. */
  pending(): Promise<Rotation | undefined>;
  begin(rotation: Rotation): Promise<void>;
  end(): Promise<void>;
}

export function journal(host: Host, appDir: string): Journal {
  const path = () => stateFileOn(host, appDir, 'rotation.json');
  return {
    async pending() {
      // Looked for, not made: a dry run leaves no trace.
      const text = await readHostFile(host, `${appDir}/.opsbook/rotation.json`);
      return text ? parseRotation(text, appDir) : undefined;
    },
    async begin({ name, before, after, began, verifiers }) {
      const shown = Object.entries(verifiers).map(([role, verifier]) => [role, verifier.reveal()]);
      const texts = { before: before.reveal(), after: after.reveal(), verifiers: Object.fromEntries(shown) };
      await writeHostFile(host, await path(), JSON.stringify({ name, began, ...texts }));
    },
    end: async () => writeHostFile(host.uninterrupted, await path(), ''),
  };
}

/** A rotation as it is written. */
type Noted = Record<'name' | 'began' | 'before' | 'after', string> & { verifiers: Record<string, string> };

function parseRotation(text: string, appDir: string): Rotation {
  try {
    const { name, began, before, after, verifiers } = parseSecret<Noted>(text);
    const kept = Object.entries(verifiers).map(([role, verifier]) => [role, new Secret(verifier)]);
    return {
      ...{ name, began, before: new Secret(before), after: new Secret(after) },
      verifiers: Object.fromEntries(kept),
    };
  } catch (error) {
    throw new Failure(`${appDir}/.opsbook/rotation.json is damaged`, {
      next: 'see which password the database takes, then remove the file',
      cause: error,
    });
  }
}
