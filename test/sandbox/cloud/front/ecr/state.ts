/** A manifest that was pushed. */
export interface Image {
  digest: string;
  mediaType: string;
  manifest: string;
  pushed: Date;
  tags: Set<string>;
}

export interface Repository {
  name: string;
  immutable: boolean;
  /** by digest, oldest first */
  images: Map<string, Image>;
}

/** What a test can switch on by `POST /sandbox/ecr`. */
export interface EcrFaults {
  /** how long a token that is given out from now on is good for */
  tokenSeconds: number;
  /** after so many more requests of engines every token that is out is expired; -1: never */
  expireAfter: number;
  /** pushes are refused as to a caller without ecr:PutImage */
  refusePush: boolean;
}

export const noFaults = (): EcrFaults => ({ tokenSeconds: 12 * 3600, expireAfter: -1, refusePush: false });

export interface EcrState {
  /** by name; which exist is known from moto's answers */
  repositories: Map<string, Repository>;
  /** tokens given out, and when each ends */
  tokens: Map<string, Date>;
  faults: EcrFaults;
}

export const newEcrState = (): EcrState => ({
  repositories: new Map(),
  tokens: new Map(),
  faults: noFaults(),
});
