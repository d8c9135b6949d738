/**
 * Identity: who may do what with this server, and who did. Its parts are used by the control API;
 * that a caller may do a thing is decided before, in gateway/auth by the route table.
 *
 *   keys       made, listed, revoked
 *   key-text   what a key looks like
 *   audit      who changed what
 */

import type { AuditTrail } from "./audit.ts";
import type { Keys } from "./keys.ts";

export interface Identity {
  keys: Keys;
  audit: AuditTrail;
}
