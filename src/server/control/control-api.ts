/**
 * `/api/v1`: the control API over HTTP, by the table of contract/control-routes. In this order a call
 * finds its route, is allowed or refused, and reaches its handler; a handler sees only parameters and
 * a body that fit.
 */

import type { IncomingMessage } from "node:http";
import type { Resource } from "../../contract/access.ts";
import {
  CONTROL_ROUTES,
  controlRoutesAt,
  type ControlRoute,
  type ControlRouteName,
  type RequestBody,
} from "../../contract/control-routes.ts";
import { DOCUMENTS, type DocumentName } from "../../contract/control-schemas.ts";
import { FlashError, type Issue } from "../../contract/errors.ts";
import { compileSchema, type Validator } from "../../contract/validator.ts";
import { authorize } from "../gateway/auth.ts";
import { readText, sendJson } from "../gateway/http.ts";
import type { ControlCall, ControlRequest } from "./control-call.ts";
import { CONTROL_HANDLERS } from "./control-handlers.ts";

/** Bodies of the control API are a few names; an artifact is not read here. */
const MAX_BODY_BYTES = 64 * 1024;

/** Answers a call, or throws the error that says why not. */
export async function handleControl(given: ControlRequest): Promise<void> {
  const name = findRoute(given);
  const route: ControlRoute = CONTROL_ROUTES[name];
  const { principal, query, request, response } = given;
  checkQuery(route, query);
  const body = route.body?.kind === "json" ? await readDocument(route.body, request) : undefined;
  const resource = { ...queried(route, query), ...named(body) };
  const call: ControlCall = { ...given, route, resource, body };
  const document = await audited(name, call, async () => {
    authorize(principal, route, resource);
    return await CONTROL_HANDLERS[name](call);
  });
  if (route.answer.kind !== "json") return;
  const headers = route.isSecret === true ? { "cache-control": "no-store" } : undefined;
  sendJson(response, route.answer.status ?? 200, document, headers);
}

/** A change is in the audit trail before its caller hears how it went. */
async function audited<T>(action: string, call: ControlCall, run: () => Promise<T>): Promise<T> {
  const { route, principal, resource, from, identity } = call;
  if (route.changes !== true) return await run();
  const write = (result: string): Promise<void> =>
    identity.audit.write({ principal, action, resource, subject: call.subject, from, result });
  let value: T;
  try {
    value = await run();
  } catch (error) {
    await write(FlashError.is(error) ? error.code : "INTERNAL");
    throw error;
  }
  await write("ok");
  return value;
}

function findRoute({ path, method, response }: ControlRequest): ControlRouteName {
  const routes = controlRoutesAt(`/api/v1${path}`);
  if (routes.size === 0) {
    throw new FlashError("NOT_FOUND", `The control API has no '/api/v1${path}'.`, {
      hint: "'/api/v1/openapi.json' lists what it has.",
    });
  }
  const name = routes.get(method);
  if (name !== undefined) return name;
  const allowed = [...routes.keys()].join(", ");
  response.setHeader("allow", allowed);
  throw new FlashError(
    "METHOD_NOT_ALLOWED",
    `'/api/v1${path}' does not take ${method}, only ${allowed}.`,
  );
}

function checkQuery({ query: parameters = [] }: ControlRoute, query: URLSearchParams): void {
  for (const { name, required } of parameters) {
    if (!required || (query.get(name) ?? "") !== "") continue;
    throw new FlashError("INVALID_REQUEST", `The query parameter '${name}' is missing.`);
  }
}

function queried({ query: parameters = [] }: ControlRoute, query: URLSearchParams): Resource {
  const resource: Resource = {};
  for (const { name, names } of parameters) {
    const value = query.get(name);
    if (names !== undefined && value !== null && value !== "") resource[names] = value;
  }
  return resource;
}

/** The parts of a body that name what it is about. */
function named(body: unknown): Resource {
  const { app, environment, endpoint } = (body ?? {}) as Record<string, unknown>;
  return {
    ...(typeof app === "string" ? { app } : {}),
    ...(typeof environment === "string" ? { environment } : {}),
    ...(typeof endpoint === "string" ? { endpoint } : {}),
  };
}

const validators = new Map<DocumentName, Validator>();

async function readDocument(
  { document: name, maxBytes = MAX_BODY_BYTES }: Extract<RequestBody, { kind: "json" }>,
  request: IncomingMessage,
): Promise<unknown> {
  const text = await readText(request, maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FlashError("INVALID_REQUEST", "The body is not JSON.", { cause });
  }
  const validate = validators.get(name) ?? compileSchema(DOCUMENTS[name]);
  validators.set(name, validate);
  const issues: Issue[] = [];
  validate(value, "body", issues);
  const [first] = issues;
  if (first === undefined) return value;
  throw new FlashError(
    "INVALID_REQUEST",
    `The body is not a ${name}: ${first.path} ${first.message}.`,
    {
      issues,
      hint: "'/api/v1/openapi.json' describes it.",
    },
  );
}

/** True for what is answered without a key. */
export function isPublicControl(path: string, method: string): boolean {
  const name = controlRoutesAt(`/api/v1${path}`).get(method);
  return name !== undefined && CONTROL_ROUTES[name].access === "public";
}
