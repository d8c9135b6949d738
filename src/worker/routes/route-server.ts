/**
 * The HTTP server of a load-balanced endpoint. It listens before any user code is loaded, so that its
 * health can be asked from the first moment: 204 while loading, 200 when ready, 503 when ending.
 *
 * Invariants:
 *   R1  every request gets exactly one answer, whatever the function does;
 *   R2  a client that leaves aborts its call's signal;
 *   R3  after `drain()` no connection is kept, and running requests are finished.
 *
 * What brings a request, a connection of its own or a stream of the request link, makes no difference
 * beyond `exchange`.
 */

import type http from "node:http";
import { FlashError, ERRORS } from "../../contract/errors.ts";
import { originOfHeaders, routeLabel } from "../../contract/origin.ts";
import type { EndpointManifest, FunctionManifest } from "../../contract/manifest.ts";
import { RouteTable } from "../../contract/routes.ts";
import { DEADLINE_HEADER, TIMING_HEADER } from "../../contract/worker-env.ts";
import { deferred } from "../../kit/abort.ts";
import { givenRequestId, newRequestId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import { Call, type CallOptions } from "../call.ts";
import type { Callable } from "../callable.ts";
import { functionError } from "../failure.ts";
import type { Service } from "../service.ts";
import type { RouteSettings } from "../settings.ts";
import type { StackStyle } from "../stack.ts";
import { deliver, describeFailure, sendJson, sendProblem } from "./answer.ts";
import { Doors, createServer, listenOn } from "./doors.ts";
import type { RouteRequest, RouteResponse } from "./exchange.ts";
import { readParts, targetOf, webRequest, type Target } from "./request.ts";

export interface RouteServerOptions {
  endpoint: EndpointManifest;
  settings: RouteSettings;
  /** Open already, where `settings` says. Default: doors of its own. */
  doors?: Doors | undefined;
  /** Error stacks are sent to callers. */
  sendsStacks: boolean;
  style: StackStyle;
  log: Log;
}

export interface Routed {
  route: NonNullable<FunctionManifest["route"]>;
  callable: Callable;
}

type State =
  | { phase: "loading" }
  | { phase: "ready"; table: RouteTable<Callable> }
  | { phase: "draining"; table: RouteTable<Callable>; drained: Promise<void> };

export class RouteServer implements Service {
  readonly #options: RouteServerOptions;
  readonly #doors: Doors;
  readonly #healthServer: http.Server | undefined;
  readonly #running = new Set<RouteResponse>();
  #state: State = { phase: "loading" };
  #idle = deferred<void>();
  #description: unknown;

  constructor(options: RouteServerOptions) {
    this.#options = options;
    this.#doors = options.doors ?? new Doors(options.settings.listen);
    this.#doors.leadTo((request, response) => this.#onRequest(request, response));
    if (options.settings.healthPort !== undefined) {
      this.#healthServer = createServer((_, response) => this.#sendHealth(response));
    }
  }

  /** Listens, answering health checks only. */
  async listen(): Promise<void> {
    const { settings, log } = this.#options;
    await this.#doors.open();
    const { linkFailure } = this.#doors;
    if (linkFailure !== undefined) log.warn("no request link", { error: linkFailure });
    if (this.#healthServer !== undefined && settings.healthPort !== undefined) {
      await listenOn(this.#healthServer, { host: "0.0.0.0", port: settings.healthPort });
    }
  }

  /** The endpoint's code is loaded. */
  ready(routes: readonly Routed[]): void {
    const table = new RouteTable<Callable>();
    for (const { route, callable } of routes) table.add(route, callable);
    if (this.#state.phase === "loading") this.#state = { phase: "ready", table };
  }

  async drain(): Promise<void> {
    if (this.#state.phase !== "draining") {
      const table = this.#state.phase === "ready" ? this.#state.table : new RouteTable<Callable>();
      this.#state = { phase: "draining", table, drained: this.#drain() };
    }
    await this.#state.drained;
  }

  async #drain(): Promise<void> {
    const linksEnded = this.#doors.close();
    this.#healthServer?.close();
    for (const response of this.#running) {
      if (!response.headersSent) response.setHeader("connection", "close");
    }
    if (this.#running.size > 0) await this.#idle.promise;
    await linksEnded;
    this.#doors.closeIdleConnections();
  }

  #onRequest(request: RouteRequest, response: RouteResponse): void {
    if (request.headers[TIMING_HEADER] !== undefined) timeAnswer(response);
    const target = targetOf(request.url);
    if (target.path === this.#options.settings.healthPath) {
      this.#sendHealth(response);
      return;
    }
    if (this.#state.phase === "loading") {
      response.setHeader("retry-after", "1");
      this.#refuse(
        response,
        new FlashError("UNAVAILABLE", "The worker is still loading its code."),
      );
      return;
    }
    if (this.#state.phase === "draining") response.setHeader("connection", "close");
    const method = request.method;
    const match = this.#state.table.find(method, target.path);
    if (match.kind === "match") {
      void this.#serve({ request, response, target, params: match.params, callable: match.value });
    } else if (match.kind === "wrong-method") this.#sendAllow(response, method, match.allowed);
    else if (target.path === "/openapi.json") void this.#sendDescription(response, method);
    else this.#refuse(response, routeNotFound(method, target.path, this.#options.endpoint.name));
  }

  async #serve(incoming: Incoming): Promise<void> {
    const { request, response, target, params, callable } = incoming;
    const { log } = this.#options;
    const call = new Call(this.#callOptions(request, callable));
    this.#running.add(response);
    response.onBroken(() => {
      call.abort(new FlashError("CANCELLED", "The client closed its connection.")); // R2
    });
    try {
      const value = await call.run(async () => {
        const parts = await readParts(request, { params, query: target.query, callable, call });
        return callable.call(await callable.bind(parts));
      });
      const describe = (error: FlashError) => describeFailure(error, this.#options.sendsStacks);
      const broken = await call.enter(() => deliver(value, { response, callable, call, describe }));
      if (broken !== undefined) {
        call.fail(broken);
        this.#logFailure(log, labelOf(callable), broken, call);
      }
    } catch (thrown) {
      const error = FlashError.is(thrown) ? thrown : functionError(thrown, this.#options.style);
      call.fail(error);
      this.#logFailure(log, labelOf(callable), error, call);
      this.#refuse(response, error); // R1
    } finally {
      call.end();
      this.#finish(response);
    }
  }

  #callOptions(request: RouteRequest, callable: Callable): CallOptions {
    const id = givenRequestId(request.headers["x-request-id"]) ?? newRequestId();
    const limit = limitOf(request, callable, this.#options.endpoint);
    const options: CallOptions = {
      who: { request: id },
      origin: () => {
        const origin = originOfHeaders(request.headers);
        const label = routeLabel(this.#options.endpoint, callable.manifest.route);
        return { ...origin, chain: [...origin.chain, label] };
      },
      request: (signal) => webRequest(request, { signal, body: "none" }),
    };
    return limit === undefined ? options : { ...options, limit };
  }

  #finish(response: RouteResponse): void {
    this.#running.delete(response);
    if (this.#state.phase !== "draining") return;
    // R3: connections whose answer had begun before the end was known are kept by their headers.
    this.#doors.closeIdleConnections();
    if (this.#running.size === 0) this.#idle.resolve();
  }

  #sendHealth(response: RouteResponse): void {
    const { phase } = this.#state;
    if (phase === "ready") sendJson(response, { status: 200, value: { status: "healthy" } });
    else if (phase === "loading") sendNothing(response);
    else sendJson(response, { status: 503, value: { status: "draining" } });
  }

  #sendAllow(response: RouteResponse, method: string, methods: readonly string[]): void {
    const allowed = [...methods, ...(methods.includes("GET") ? ["HEAD"] : []), "OPTIONS"].join(
      ", ",
    );
    response.setHeader("allow", allowed);
    if (method === "OPTIONS") sendNothing(response);
    else {
      this.#refuse(
        response,
        new FlashError("METHOD_NOT_ALLOWED", `${method} is not allowed here. Allowed: ${allowed}.`),
      );
    }
  }

  async #sendDescription(response: RouteResponse, method: string): Promise<void> {
    if (method !== "GET" && method !== "HEAD") {
      this.#sendAllow(response, method, ["GET"]);
      return;
    }
    const { openApiOf } = await import("../../contract/openapi.ts");
    const { endpoint } = this.#options;
    this.#description ??= openApiOf([endpoint], {
      title: endpoint.name,
      version: endpoint.fingerprint.slice(0, 12),
    });
    sendJson(response, { status: 200, value: this.#description });
  }

  #refuse(response: RouteResponse, error: FlashError): void {
    if (response.headersSent) response.destroy();
    else sendProblem(response, describeFailure(error, this.#options.sendsStacks));
  }

  #logFailure(log: Log, label: string, error: FlashError, call: Call): void {
    // A caller's mistake is the caller's business, and one who left is none of anybody's.
    if (ERRORS[error.code].blame === "caller") return;
    const report = error.details?.error;
    const level = error.status >= 500 ? "error" : "warn";
    log[level](`${label} failed: ${error.message}`, {
      ...call.who,
      status: error.status,
      ...(report === undefined ? { code: error.code } : { error: report }),
    });
  }
}

/** The answer says how long it took until its head. */
function timeAnswer(response: RouteResponse): void {
  const startedAt = performance.now();
  const writeHead = response.writeHead.bind(response);
  response.writeHead = (status, headers): void => {
    response.setHeader(TIMING_HEADER, (performance.now() - startedAt).toFixed(3));
    writeHead(status, headers);
  };
}

function labelOf({ manifest: { route } }: Callable): string {
  return `${route?.method ?? ""} ${route?.path ?? ""}`;
}

function sendNothing(response: RouteResponse): void {
  response.writeHead(204);
  response.end();
}

interface Incoming {
  request: RouteRequest;
  response: RouteResponse;
  target: Target;
  params: Record<string, string>;
  callable: Callable;
}

/** The nearer of the endpoint's limit and the deadline that the caller passed on. */
function limitOf(
  request: RouteRequest,
  callable: Callable,
  endpoint: EndpointManifest,
): CallOptions["limit"] {
  const { executionTimeoutMs } = endpoint.options;
  const given = Number(request.headers[DEADLINE_HEADER] ?? Number.NaN);
  const leftMs = Number.isFinite(given) ? given - Date.now() : Number.POSITIVE_INFINITY;
  if (executionTimeoutMs > 0 && executionTimeoutMs <= leftMs) {
    const message = `Execution timeout on ${endpoint.name} after ${executionTimeoutMs / 1000}s: ${callable.manifest.name} did not finish.`;
    return { ms: executionTimeoutMs, error: () => new FlashError("EXECUTION_TIMEOUT", message) };
  }
  if (leftMs === Number.POSITIVE_INFINITY) return undefined;
  const message = `The caller's deadline passed while ${callable.manifest.name} of ${endpoint.name} ran.`;
  return { ms: leftMs, at: given, error: () => new FlashError("CALL_TIMEOUT", message) };
}

function routeNotFound(method: string, path: string, endpoint: string): FlashError {
  return new FlashError("ROUTE_NOT_FOUND", `'${endpoint}' has no route for ${method} ${path}.`, {
    hint: "GET /openapi.json lists the routes.",
  });
}
