/** Identity as the store keeps it: keys, secrets, and who changed what. */

import type { Scope, Verb } from "./access.ts";

export interface KeyRow {
  id: string;
  /** What people call it; one live key has it. */
  name: string;
  /** SHA-256 of the key, base64. The key itself is shown once and kept nowhere. */
  digest: string;
  verbs: Verb[];
  scope: Scope;
  createdAt: number;
  /** Name of the key that made it; `operator` for the server key. */
  createdBy: string;
  /** Epoch ms; null: never. */
  expiresAt: number | null;
  revokedAt: number | null;
  /** To the minute or so. */
  lastUsedAt: number | null;
}

export interface KeyStore {
  /** Throws `CONFLICT` when a key that is neither revoked nor expired has the name. */
  add(row: KeyRow): Promise<void>;
  /** Newest first, revoked and expired ones included. */
  list(): Promise<KeyRow[]>;
  /** False when there is none that is not revoked. */
  revoke(id: string, now: number): Promise<boolean>;
  noteUses(uses: ReadonlyMap<string, number>): Promise<void>;
  /** Forgets keys that have been void since before then. */
  dropVoid(before: number): Promise<void>;
}

/** A secret as it is kept: the value is nowhere in clear. */
export interface SecretRow {
  app: string;
  environment: string;
  name: string;
  /** Grows with every value the environment's secrets get; never used twice. */
  version: number;
  /** Which master key seals it. */
  keyId: string;
  /** Nonce, ciphertext and tag. */
  sealed: Uint8Array;
  createdAt: number;
  updatedAt: number;
  updatedBy: string;
}

export interface SecretStore {
  /** Adds or replaces. Returns the row with its version. */
  put(row: Omit<SecretRow, "version" | "createdAt">): Promise<SecretRow>;
  /** By name; of one environment, or all there are. */
  list(app?: string, environment?: string): Promise<SecretRow[]>;
  /** False when there is none. */
  remove(app: string, environment: string, name: string): Promise<boolean>;
  /** Replaces what seals every secret, all or none. */
  reseal(seal: (row: SecretRow) => { keyId: string; sealed: Uint8Array }): Promise<number>;
}

/** One line of the audit trail. */
export interface AuditEntry {
  /** Epoch ms. */
  at: number;
  /** Key id, worker id, or `operator`. */
  actor: string;
  actorName: string;
  /** Name of the route: `deployments.create`. */
  action: string;
  app: string | null;
  environment: string | null;
  endpoint: string | null;
  /** What else it was about: a build, a key, the name of a secret. */
  subject: string | null;
  /** Address of the caller. */
  from: string;
  /** `ok`, or the code of the error it was answered with. */
  result: string;
}

export interface AuditFilter extends Partial<Record<"app" | "environment" | "endpoint", string>> {
  /** Only entries before this one. */
  before?: number;
  limit: number;
}

/** Only ever appended to; the oldest entries give way when there are too many. */
export interface AuditStore {
  add(entry: AuditEntry): Promise<void>;
  /** Newest first. */
  list(filter: AuditFilter): Promise<(AuditEntry & { id: number })[]>;
}
