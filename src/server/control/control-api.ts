/** `/api/v1`: the control API over HTTP. Paths and documents: contract/control.ts. */

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { DeployRequest, LogLine } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { requireScope } from "../gateway/auth.ts";
import { clientSignal, readBody, sendJson, type Principal } from "../gateway/http.ts";
import type { Control, EndpointFilter } from "./control.ts";

/** A deploy request is three names. */
const MAX_DEPLOY_BYTES = 64 * 1024;
const DEFAULT_TAIL = 100;
const MAX_TAIL = 10_000;

export interface ControlCall {
  control: Control;
  principal: Principal;
  method: string;
  /** What follows `/api/v1`. */
  path: string;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
}

type Operation = (call: ControlCall) => Promise<void>;

const OPERATIONS: Record<string, Record<string, Operation>> = {
  "/builds": { POST: putBuild },
  "/deployments": { POST: deploy },
  "/environments": { GET: environments },
  "/releases": { GET: releases },
  "/status": { GET: status },
  "/endpoints": { GET: describe, DELETE: remove },
  "/logs": { GET: logs },
  "/scaling": { GET: scaling },
  "/workers": { POST: addWorker, DELETE: removeWorker },
  "/server": { GET: server },
  "/server/stop": { POST: stop },
};

/** Answers a call, or throws the error that says why not. */
export async function handleControl(call: ControlCall): Promise<void> {
  const methods = Object.hasOwn(OPERATIONS, call.path) ? OPERATIONS[call.path] : undefined;
  if (methods === undefined) {
    throw new FlashError("NOT_FOUND", `The control API has no '/api/v1${call.path}'.`);
  }
  const operation = Object.hasOwn(methods, call.method) ? methods[call.method] : undefined;
  if (operation === undefined) {
    const allowed = Object.keys(methods).join(", ");
    throw new FlashError(
      "METHOD_NOT_ALLOWED",
      `'/api/v1${call.path}' does not take ${call.method}, only ${allowed}.`,
    );
  }
  // A worker may find its neighbours, and nothing else.
  if (call.principal.kind === "worker") {
    if (operation !== describe) {
      throw new FlashError("FORBIDDEN", "A worker's secret does not open the control API.");
    }
    requireScope(call.principal, filterOf(call));
  }
  await operation(call);
}

async function putBuild({ control, query, request, response }: ControlCall): Promise<void> {
  sendJson(response, 200, await control.putBuild(required(query, "app"), request));
}

async function deploy({ control, request, response }: ControlCall): Promise<void> {
  const body = await readBody(request, MAX_DEPLOY_BYTES);
  sendJson(response, 200, await control.deploy(readDeployRequest(body)));
}

async function environments({ control, query, response }: ControlCall): Promise<void> {
  sendJson(response, 200, await control.environments(required(query, "app")));
}

async function releases(call: ControlCall): Promise<void> {
  const { app, environment } = filterOf(call);
  sendJson(call.response, 200, await call.control.releases(app, environment));
}

async function status(call: ControlCall): Promise<void> {
  const { app, environment } = filterOf(call);
  sendJson(call.response, 200, await call.control.status(app, environment));
}

async function describe(call: ControlCall): Promise<void> {
  const { app, environment } = filterOf(call);
  const name = required(call.query, "name");
  sendJson(call.response, 200, await call.control.describe(app, environment, name));
}

async function remove(call: ControlCall): Promise<void> {
  sendJson(call.response, 200, await call.control.remove(filterOf(call, "name")));
}

async function scaling(call: ControlCall): Promise<void> {
  const { app, environment } = filterOf(call);
  const name = required(call.query, "name");
  sendJson(call.response, 200, await call.control.explain(app, environment, name));
}

async function logs(call: ControlCall): Promise<void> {
  const { query, response } = call;
  const signal = clientSignal(response);
  const lines = await call.control.logs(filterOf(call, "endpoint"), {
    tail: tailOf(query),
    follow: query.get("follow") === "1",
    signal,
  });
  response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
  // Headers go out before the first line: a follower of a silent endpoint should not wait for them.
  response.flushHeaders();
  await writeLines(response, lines, signal);
  response.end();
}

async function writeLines(
  response: ServerResponse,
  lines: AsyncIterable<LogLine>,
  signal: AbortSignal,
): Promise<void> {
  for await (const line of lines) {
    if (signal.aborted) return;
    if (response.write(`${JSON.stringify(line)}\n`)) continue;
    await Promise.race([once(response, "drain"), once(response, "close")]);
  }
}

async function addWorker(call: ControlCall): Promise<void> {
  const url = call.query.get("url");
  const document = await call.control.addWorker(
    oneEndpoint(call),
    ...(url === null ? [] : [baseUrl(url)]),
  );
  sendJson(call.response, 200, document, { "cache-control": "no-store" });
}

async function removeWorker(call: ControlCall): Promise<void> {
  const worker = required(call.query, "worker");
  sendJson(call.response, 200, await call.control.removeWorker(oneEndpoint(call), worker));
}

async function server({ control, response }: ControlCall): Promise<void> {
  sendJson(response, 200, control.server());
}

async function stop({ control, response }: ControlCall): Promise<void> {
  sendJson(response, 202, { status: "stopping" }, { connection: "close" });
  control.stop();
}

function filterOf({ query }: ControlCall, nameKey?: "name" | "endpoint"): EndpointFilter {
  const endpoint = nameKey === undefined ? null : query.get(nameKey);
  return {
    app: required(query, "app"),
    environment: required(query, "environment"),
    ...(endpoint === null ? {} : { endpoint }),
  };
}

function oneEndpoint(call: ControlCall): Required<EndpointFilter> {
  return { ...filterOf(call), endpoint: required(call.query, "endpoint") };
}

/** A base URL as workers expect it: without a slash at the end. */
function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") {
    return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
  }
  throw new FlashError("INVALID_REQUEST", `'url' must be an http or https URL, got '${text}'.`);
}

function required(query: URLSearchParams, name: string): string {
  const value = query.get(name);
  if (value !== null && value !== "") return value;
  throw new FlashError("INVALID_REQUEST", `The query parameter '${name}' is missing.`);
}

function tailOf(query: URLSearchParams): number {
  const text = query.get("tail") ?? String(DEFAULT_TAIL);
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text), MAX_TAIL);
  throw new FlashError("INVALID_REQUEST", `'tail' must be a whole number, got '${text}'.`);
}

function readDeployRequest(body: Buffer): DeployRequest {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch (cause) {
    throw new FlashError("INVALID_REQUEST", "The body is not JSON.", { cause });
  }
  const { app, environment, build } = (value ?? {}) as Record<string, unknown>;
  if (typeof app === "string" && typeof environment === "string" && typeof build === "string") {
    return { app, environment, build };
  }
  throw new FlashError(
    "INVALID_REQUEST",
    "The body must be an object with the strings 'app', 'environment' and 'build'.",
  );
}
