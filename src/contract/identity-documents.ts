/** Documents of the control API about keys, secrets, the audit trail and logins. */

import type { Scope, Verb } from "./access.ts";
import type { AuditEntry } from "./identity.ts";

/** Body of `POST /api/v1/keys`. */
export interface KeyRequest {
  name: string;
  verbs: Verb[];
  /** Left out: all of them. */
  app?: string;
  environment?: string;
  endpoint?: string;
  /** Seconds from now; null: never. Default: 90 days, or as long as the key that makes it. */
  expiresInS?: number | null;
}

export interface KeyDocument extends Scope {
  id: string;
  name: string;
  verbs: Verb[];
  state: "active" | "expired" | "revoked";
  /** ISO 8601, as all times. */
  createdAt: string;
  /** Name of the key that made it; `operator` for the server key. */
  createdBy: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
}

/** `flash keys create --json`: the key is told here and never again. */
export interface NewKeyDocument extends KeyDocument {
  key: string;
}

/** `flash keys list --json`, newest first. */
export interface KeysDocument {
  keys: KeyDocument[];
}

/** `flash audit --json`, newest first. */
export interface AuditDocument {
  entries: AuditEntryDocument[];
}

export interface AuditEntryDocument extends Omit<AuditEntry, "at"> {
  id: number;
  /** ISO 8601. */
  time: string;
}

/** A secret of an environment: everything but its value, which nobody is ever told. */
export interface SecretDocument {
  name: string;
  /** Another one for every value. */
  version: number;
  createdAt: string;
  updatedAt: string;
  /** Name of the key that set it; `operator` for the server key. */
  updatedBy: string;
}

/** `flash secrets list --json`. */
export interface SecretsDocument {
  app: string;
  environment: string;
  secrets: SecretDocument[];
}

/** `flash secrets set --json` and `remove --json`. */
export interface SecretChangeDocument extends SecretDocument {
  app: string;
  environment: string;
  /** Endpoints whose workers are being replaced by ones with the new value. */
  rolled: string[];
}

/** `flash secrets rotate-key --json`. */
export interface SecretRotationDocument {
  /** Secrets that are now sealed with a new master key. */
  sealed: number;
}

/** Body of `POST /api/v1/logins`: a command line asks to be let in. */
export interface LoginRequest {
  /** What it says about itself, such as `flash 1.0 on laptop`; shown to whoever approves. */
  client: string;
}

export interface LoginDocument {
  /** Shown to a person, who sees the same one where the login is approved. */
  code: string;
  /** What the device asks with; nobody else learns it. */
  secret: string;
  /** Page on which it is approved. */
  url: string;
  expiresAt: string;
  /** Seconds between two polls. */
  intervalS: number;
}

export type LoginState = "PENDING" | "APPROVED" | "DENIED" | "CONSUMED" | "EXPIRED";

export interface LoginStateDocument {
  status: LoginState;
  /** The device's own key, once it is approved. */
  key: string | null;
}

/** A login that waits for a decision. */
export interface PendingLoginDocument {
  code: string;
  client: string;
  /** Address it came from. */
  from: string;
  expiresAt: string;
}

/** Body of `POST /api/v1/logins/decide`. */
export interface LoginDecision extends Partial<Omit<KeyRequest, "name">> {
  code: string;
  approve: boolean;
}
