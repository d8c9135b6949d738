/** What each route of the control API does: reads its parameters, calls {@link Control}, returns the document. */

import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { isInScope, type Resource } from "../../contract/access.ts";
import type { DeployRequest, LogLine, PlanRequest } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { EventDocument } from "../../contract/events.ts";
import { endSignal } from "../gateway/ended-side.ts";
import { clientSignal, type Principal } from "../gateway/http.ts";
import { IDENTITY_HANDLERS } from "../identity/identity-handlers.ts";
import type { EndpointFilter } from "./deployed.ts";
import type { ControlCall, ControlHandlers } from "./control-call.ts";
import { required } from "./control-call.ts";
import { buildDocument } from "./documents.ts";
import type { UploadName } from "./uploads.ts";
import { controlOpenApi } from "./control-openapi.ts";
import { eventQueryOf, logQueryOf } from "./log-query.ts";

/** Proxies close connections that are silent for longer, ms. */
const BEAT_MS = 15_000;
/** A reader that has lost its connection comes back after this, ms. */
const RETRY_MS = 1000;

export const CONTROL_HANDLERS: ControlHandlers = {
  "uploads.read": ({ control, query }) => control.uploads.look(uploadOf(query)),
  "uploads.append": ({ control, query, request }) =>
    control.uploads.append(uploadOf(query), {
      offset: wholeNumber(query, "offset"),
      bytes: wholeNumber(query, "bytes"),
      body: request,
    }),
  "uploads.complete": async (call) => {
    const build = await call.control.uploads.complete(uploadOf(call.query));
    call.subject = build.id;
    return buildDocument(build);
  },
  "deployments.create": (call) => {
    const request = call.body as DeployRequest;
    call.subject = request.build;
    return call.control.deploy(request);
  },
  "apps.list": apps,
  "apps.create": ({ control, resource }) => control.model.createApp(resource.app ?? ""),
  "apps.read": ({ control, resource }) => control.model.app(resource.app ?? ""),
  "apps.remove": ({ control, resource }) => control.model.removeApp(resource.app ?? ""),
  "builds.list": ({ control, resource }) => control.model.builds(resource.app ?? ""),
  "builds.prune": ({ control, resource }) => control.model.pruneBuilds(resource.app ?? ""),
  "plans.create": ({ control, body }) => control.plan(body as PlanRequest),
  "environments.list": environments,
  "environments.create": ({ control, resource: { app = "", environment = "" } }) =>
    control.model.createEnvironment(app, environment),
  "environments.read": (call) => call.control.model.environment(...environmentOf(call)),
  "environments.remove": (call) => call.control.model.removeEnvironment(...environmentOf(call)),
  "releases.list": (call) => call.control.releases(...environmentOf(call)),
  "status.read": status,
  "endpoints.describe": (call) =>
    call.control.describe(...environmentOf(call), required(call.query, "name")),
  "endpoints.remove": (call) => call.control.remove(filterOf(call)),
  "logs.read": logs,
  "events.read": events,
  "scaling.explain": (call) =>
    call.control.explain(...environmentOf(call), required(call.query, "name")),
  "workers.add": addWorker,
  "workers.remove": (call) => {
    call.subject = required(call.query, "worker");
    return call.control.removeWorker(oneEndpoint(call), call.subject);
  },
  "server.read": async ({ control }) => control.server(),
  "server.stop": stop,
  ...IDENTITY_HANDLERS,
  "openapi.read": async ({ control }) => {
    const { version, url } = control.server();
    return controlOpenApi({ version, url });
  },
};

async function apps({ control, principal }: ControlCall): Promise<unknown> {
  const document = await control.model.apps();
  return { apps: document.apps.filter(({ name }) => sees(principal, { app: name })) };
}

async function environments({ control, query, principal }: ControlCall): Promise<unknown> {
  const app = required(query, "app");
  const document = await control.model.environments(app);
  const seen = document.environments.filter(({ name }) =>
    sees(principal, { app, environment: name }),
  );
  return { ...document, environments: seen };
}

async function status(call: ControlCall): Promise<unknown> {
  const [app, environment] = environmentOf(call);
  const document = await call.control.status(app, environment);
  const seen = document.endpoints.filter(({ name: endpoint }) =>
    sees(call.principal, { app, environment, endpoint }),
  );
  return { ...document, endpoints: seen };
}

async function logs(call: ControlCall): Promise<void> {
  const { query, response } = call;
  const asked = logQueryOf(query);
  const signal = asked.follow ? endSignal(response) : clientSignal(response);
  const lines = await call.control.logs(filterOf(call), { ...asked, signal });
  response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
  // Headers go out before the first line: a follower of a silent endpoint should not wait for them.
  response.flushHeaders();
  await writeLines(response, lines, signal);
  response.end();
}

/** NDJSON, or server-sent events for those who ask for them, which a browser resumes by itself. */
async function events(call: ControlCall): Promise<void> {
  const { control, query, request, response, principal } = call;
  const isStream = request.headers.accept?.includes("text/event-stream") === true;
  const last = request.headers["last-event-id"];
  const asked = eventQueryOf(query, { isStream, ...(typeof last === "string" ? { last } : {}) });
  const signal = asked.follow ? endSignal(response) : clientSignal(response);
  const found = control.events(asked, { sees: (event) => sees(principal, event), signal });
  response.writeHead(200, {
    "content-type": isStream ? "text/event-stream" : "application/x-ndjson",
    "cache-control": "no-store",
    ...(isStream ? { "x-accel-buffering": "no" } : {}),
  });
  // Headers go out at once: nothing may have happened yet.
  if (isStream) response.write(`retry: ${RETRY_MS}\n\n`);
  else response.flushHeaders();
  const beat = isStream ? setInterval(() => response.write(": alive\n\n"), BEAT_MS) : undefined;
  try {
    if (isStream) await writeAll(response, sentEvents(found), signal);
    else await writeLines(response, found, signal);
  } finally {
    clearInterval(beat);
  }
  response.end();
}

async function* sentEvents(found: AsyncIterable<EventDocument>): AsyncGenerator<string> {
  for await (const event of found) {
    yield `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`;
  }
}

async function writeLines(
  response: ServerResponse,
  lines: AsyncIterable<LogLine | EventDocument>,
  signal: AbortSignal,
): Promise<void> {
  await writeAll(response, ndjson(lines), signal);
}

async function* ndjson(lines: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const line of lines) yield `${JSON.stringify(line)}\n`;
}

/** As fast as the client reads. */
async function writeAll(
  response: ServerResponse,
  texts: AsyncIterable<string>,
  signal: AbortSignal,
): Promise<void> {
  for await (const text of texts) {
    if (signal.aborted) return;
    if (response.write(text)) continue;
    await Promise.race([once(response, "drain"), once(response, "close")]);
  }
}

async function addWorker(call: ControlCall): Promise<unknown> {
  const url = call.query.get("url");
  const own = url === null ? [] : [baseUrl(url)];
  const document = await call.control.addWorker(oneEndpoint(call), ...own);
  call.subject = document.worker;
  return document;
}

async function stop({ control, response }: ControlCall): Promise<unknown> {
  response.setHeader("connection", "close");
  // The answer goes out first.
  if (response.closed) control.stop();
  else response.once("close", () => control.stop());
  return { status: "stopping" };
}

/** Lists hold what the caller may see. */
export function sees(principal: Principal, thing: Resource): boolean {
  return principal.kind !== "key" || isInScope(principal.scope, thing);
}

function environmentOf({ query }: ControlCall): [app: string, environment: string] {
  return [required(query, "app"), required(query, "environment")];
}

function filterOf(call: ControlCall): EndpointFilter {
  const [app, environment] = environmentOf(call);
  const { endpoint } = call.resource;
  return { app, environment, ...(endpoint === undefined ? {} : { endpoint }) };
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

function uploadOf(query: URLSearchParams): UploadName {
  return { app: required(query, "app"), digest: required(query, "digest") };
}

function wholeNumber(query: URLSearchParams, name: string): number {
  const text = required(query, name);
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new FlashError("INVALID_REQUEST", `'${name}' must be a whole number, got '${text}'.`);
}
