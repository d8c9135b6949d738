/** What the routes of keys and the audit trail do. */

import type { KeyRequest } from "../../contract/control.ts";
import { clamped } from "../gateway/http.ts";
import { required, type ControlHandlers } from "../control/control-call.ts";

const AUDIT_PAGE = 100;
const AUDIT_PAGE_MAX = 1000;

export const IDENTITY_HANDLERS = {
  "keys.list": async ({ identity, principal }) => ({ keys: await identity.keys.list(principal) }),
  "keys.create": async (call) => {
    const document = await call.identity.keys.create(call.principal, call.body as KeyRequest);
    call.subject = document.id;
    return document;
  },
  "keys.revoke": async (call) => {
    call.subject = required(call.query, "key");
    return await call.identity.keys.revoke(call.principal, call.subject);
  },
  "audit.list": async ({ identity, principal, query, resource }) => {
    const before = clamped(query.get("before"), 1, Number.MAX_SAFE_INTEGER);
    return await identity.audit.list(principal, {
      ...resource,
      ...(before === undefined ? {} : { before }),
      limit: clamped(query.get("limit"), 1, AUDIT_PAGE_MAX) ?? AUDIT_PAGE,
    });
  },
} satisfies Partial<ControlHandlers>;
