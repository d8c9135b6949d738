/** What the routes of keys, secrets and the audit trail do. */

import type { KeyRequest, LoginDecision, LoginRequest } from "../../contract/control.ts";
import { clamped } from "../gateway/http.ts";
import { nameOf } from "./keys.ts";
import type { SecretPlace } from "./vault.ts";
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
  "secrets.list": async ({ identity, query }) => identity.secrets.list(environmentOf(query)),
  "secrets.set": async (call) => {
    const { identity, control, query, principal, body } = call;
    const place = secretOf(query);
    call.subject = place.name;
    const { value } = body as { value: string };
    const document = await identity.secrets.set(place, value, nameOf(principal));
    const rolled = await control.renewWorkers(place, place.name);
    const { app, environment } = place;
    return { app, environment, ...document, rolled };
  },
  "secrets.remove": async (call) => {
    const { identity, control, query } = call;
    const { app, environment, name } = secretOf(query);
    call.subject = name;
    const place = { app, environment };
    const document = await control.whileUnused(place, name, () =>
      identity.secrets.remove({ ...place, name }),
    );
    return { ...place, ...document, rolled: [] };
  },
  "logins.begin": async ({ identity, body, from }) =>
    identity.logins.begin(body as LoginRequest, from),
  "logins.poll": async ({ identity, body }) =>
    identity.logins.poll((body as { secret: string }).secret),
  "logins.read": async ({ identity, query }) => identity.logins.look(required(query, "code")),
  "logins.decide": async (call) => {
    const decision = call.body as LoginDecision;
    call.subject = `${decision.approve ? "approve" : "deny"} ${decision.code.slice(0, 20)}`;
    return await call.identity.logins.decide(call.principal, decision);
  },
  "secrets.rotate": async ({ identity }) => ({ sealed: await identity.secrets.rotate() }),
  "audit.list": async ({ identity, principal, query, resource }) => {
    const before = clamped(query.get("before"), 1, Number.MAX_SAFE_INTEGER);
    return await identity.audit.list(principal, {
      ...resource,
      ...(before === undefined ? {} : { before }),
      limit: clamped(query.get("limit"), 1, AUDIT_PAGE_MAX) ?? AUDIT_PAGE,
    });
  },
} satisfies Partial<ControlHandlers>;

function environmentOf(query: URLSearchParams): { app: string; environment: string } {
  return { app: required(query, "app"), environment: required(query, "environment") };
}

function secretOf(query: URLSearchParams): SecretPlace {
  return { ...environmentOf(query), name: required(query, "name") };
}
