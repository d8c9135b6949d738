/**
 * Identity: who may do what with this server, and who did. Its parts are used by the control API;
 * that a caller may do a thing is decided before, in gateway/auth by the route table.
 *
 *   keys       made, listed, revoked
 *   key-text   what a key looks like
 *   secrets    values that workers get and nobody else sees
 *   vault      how they are sealed
 *   redactor   takes them out of what is kept or shown
 *   logins     keys for command lines that somebody lets in; login-page: where
 *   audit      who changed what
 */

import type { AuditTrail } from "./audit.ts";
import type { Keys } from "./keys.ts";
import type { Logins } from "./logins.ts";
import type { Secrets } from "./secrets.ts";

export interface Identity {
  keys: Keys;
  audit: AuditTrail;
  secrets: Secrets;
  logins: Logins;
}
