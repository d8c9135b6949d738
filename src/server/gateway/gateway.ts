/**
 * The front door: who calls, what they want, and who answers. Every request of every plane comes
 * through `handle`, or through `respond` when it is plain (server/edge); nothing behind it sees a request without a key or outside the caller's scope.
 *
 *   target       where a request wants to go
 *   auth         keys, and how far a worker's secret reaches; begun-requests: what ends with its key
 *   endpoints    which endpoint that is, if the caller may have it
 *   call-spans   where its call comes from; origin: what of that is believed, and loops
 *   http         bodies, JSON, problem documents; ended-side: clients that have gone, or only have no more to ask
 *   lb, lb-…     load-balanced endpoints
 *   job-api      queue endpoints, for clients
 *   worker-plane queue endpoints, for workers: worker-api with HTTP, job-link over one connection
 *   plain-plane  plain requests: lb-plain to load-balanced endpoints, job-plain to queue endpoints
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { isInScope } from "../../contract/access.ts";
import { OTHER_ROUTES } from "../../contract/api-routes.ts";
import type { BatchStore } from "../../contract/batch.ts";
import { FlashError } from "../../contract/errors.ts";
import { CHALLENGE_HEADER, PROOF_HEADER } from "../../contract/server-proof.ts";
import type { EndpointRow } from "../../contract/store.ts";
import { REQUEST_ID_HEADER } from "../../contract/worker-env.ts";
import type { Clock } from "../../kit/clock.ts";
import { givenRequestId, newRequestId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { Control } from "../control/control.ts";
import { handleControl, isPublicControl } from "../control/control-api.ts";
import type { PlainExchange } from "../edge/exchange.ts";
import type { Identity } from "../identity/identity.ts";
import { sendLoginPage } from "../identity/login-page.ts";
import type { Batches } from "../jobs/batches.ts";
import type { Jobs } from "../jobs/jobs.ts";
import { EXPOSITION_TYPE } from "../metrics/exposition.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Tracer } from "../traces/tracer.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { authorize, type Keyring } from "./auth.ts";
import { CallSpans, type ClientCall } from "./call-spans.ts";
import { clientAddress } from "./client-address.ts";
import type { Cors } from "./cors.ts";
import { Endpoints } from "./endpoints.ts";
import { platformMember, sendJson, sendProblem, type Principal } from "./http.ts";
import { handleJobApi } from "./job-api.ts";
import type { WorkerCounts } from "./job-call.ts";
import { refuseUpgrade, serveUpgrade } from "./lb-upgrade.ts";
import { serveLoadBalanced } from "./lb.ts";
import { PlainPlane } from "./plain-plane.ts";
import type { RateLimits } from "./rate-limits.ts";
import { hostName, isLocalName, readTarget, type Target } from "./target.ts";
import { linkOfWorker, requestOfWorker, WorkerPlane } from "./worker-plane.ts";

export interface GatewayOptions {
  fleet: Fleet;
  jobs: Jobs;
  batches: Batches;
  batchStore: BatchStore;
  control: Control;
  identity: Identity;
  keyring: Keyring;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  /** Undefined: nobody keeps traces. */
  tracer?: Tracer | undefined;
  /** Bound to loopback: only local host names are answered. */
  isLoopback: boolean;
  /** The host of the public URL, which is answered too. */
  publicHost?: string | undefined;
  /** See client-address. */
  trustsProxy?: boolean;
  /** Of the job API. Undefined: none. */
  limits?: RateLimits | undefined;
  /** Undefined: no page of another origin. */
  cors?: Cors | undefined;
}

const NOBODY: Principal = { kind: "nobody" };

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #endpoints: Endpoints;
  readonly #spans: CallSpans;
  readonly #workers: WorkerPlane;
  readonly #plain: PlainPlane;
  #state: "starting" | "open" | "stopping" = "starting";
  #answering = 0;
  #onQuiet: () => void = () => undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { fleet, jobs, tracer, limits } = options;
    this.#endpoints = new Endpoints(fleet, jobs);
    this.#spans = new CallSpans(fleet, tracer);
    this.#workers = new WorkerPlane(options);
    this.#plain = new PlainPlane({
      ...options,
      endpoints: this.#endpoints,
      isCounted: limits !== undefined,
      isForeign: (host) => this.#isForeign(host),
    });
  }

  /** From now on requests are answered; before, all but health checks are refused. */
  open(): void {
    this.#state = "open";
  }

  /** From now on all but health checks are refused. */
  close(): void {
    this.#state = "stopping";
  }

  /** Resolves when no request is being answered; to be used once. */
  quiet(): Promise<void> {
    if (this.#answering === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onQuiet = resolve;
    });
  }

  /** Ends the connections of workers, which know no end of their own. */
  closeLinks(): void {
    this.#workers.closeLinks();
  }

  /** Answers a request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#answering += 1;
    response.once("close", () => this.#answered());
    // Said again to whoever has given one, so that both sides mean the same request.
    const requestId = givenRequestId(request.headers[REQUEST_ID_HEADER]);
    if (requestId !== undefined) response.setHeader(REQUEST_ID_HEADER, requestId);
    if (this.#options.cors?.answers(request, response) === true) return;
    void this.#answer(request, response).catch((error: unknown) => {
      if (!response.headersSent) nameRequest(response);
      if (!FlashError.is(error)) {
        this.#options.log.error("a request failed inside the server", {
          request: response.getHeader(REQUEST_ID_HEADER),
          method: request.method,
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        });
      }
      if (response.headersSent) response.destroy();
      else sendProblem(response, error, platformForm(error, request));
    });
  }

  /**
   * Answers a plain request if it is one of those that have a way of their own at the edge. For what it
   * does not take, and for every refusal, the same request comes to `handle`.
   */
  respond(exchange: PlainExchange): boolean {
    // Spans are begun and ended in one place.
    if (this.#state !== "open" || this.#options.tracer !== undefined) return false;
    // What a page may read is said in one place.
    if (this.#options.cors !== undefined && exchange.head.headers.origin !== undefined)
      return false;
    const plan = this.#plain.planOf(exchange);
    if (plan === undefined) return false;
    this.#answering += 1;
    exchange.onOver = () => this.#answered();
    if (this.#plain.answer(exchange, plan)) return true;
    exchange.onOver = undefined;
    this.#answered();
    return false;
  }

  #answered(): void {
    this.#answering -= 1;
    if (this.#answering === 0) this.#onQuiet();
  }

  /** Answers an upgrade request. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    void this.#upgrade(request, socket, head).catch((error: unknown) => {
      if (!socket.destroyed) refuseUpgrade(socket, error);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = this.#targetOf(request);
    if (target.kind === "health") return this.#answerHealth(target.check, request, response);
    const ofWorker = requestOfWorker(target);
    // Until the end workers may say how their jobs ended: unmodified ones say it once.
    if (ofWorker === undefined || this.#state === "starting") this.#requireOpen(response);
    if (ofWorker !== undefined) return await this.#workers.answer(ofWorker, request, response);
    if (target.kind === "none" && target.path === "/login") return sendLoginPage(response);
    const principal = isOpenTo(target, request) ? NOBODY : this.#options.keyring.require(request);
    const over = this.#options.keyring.begin(principal, () => response.destroy());
    if (over !== undefined) response.once("close", over);
    const call = { request, response, principal };
    if (target.kind === "lb") return await this.#answerLoadBalanced(target, call);
    if (target.kind === "metrics") return await this.#answerMetrics(call);
    nameRequest(response);
    // The load-balanced plane asks for the body itself, once it has a worker.
    if (request.headers.expect !== undefined) response.writeContinue();
    if (target.kind === "v2") return await this.#answerJobs(target, call);
    if (target.kind === "control") return await this.#answerControl(target, call);
    throw new FlashError("NOT_FOUND", `Nothing is served at '${target.path}'.`, {
      hint: "Queue endpoints are at /v2/{id}, load-balanced ones at /lb/{id}, control at /api/v1.",
    });
  }

  async #answerLoadBalanced(
    { id, path }: Target & { kind: "lb" },
    call: ClientCall,
  ): Promise<void> {
    const { request, response, principal } = call;
    const pool = this.#endpoints.requireLoadBalanced(id, request, principal);
    const isOperator = principal.kind === "operator";
    const { origin, trace } = this.#spans.ofRequest(pool, path, call);
    const told = origin === undefined ? {} : { origin };
    const { trustsProxy = false } = this.#options;
    const http = { request, response, isOperator, trustsProxy, trace, ...told };
    await serveLoadBalanced(pool, path, http);
  }

  async #answerControl(
    { path, query }: Target & { kind: "control" },
    { request, response, principal }: ClientCall,
  ): Promise<void> {
    const { control, identity, trustsProxy = false } = this.#options;
    const method = request.method ?? "GET";
    const from = clientAddress(request, { trustsProxy });
    const call = { control, identity, principal, method, path, query, from };
    await handleControl({ ...call, request, response });
  }

  async #answerMetrics({ request, response, principal }: ClientCall): Promise<void> {
    const { method } = request;
    if (method !== "GET" && method !== "HEAD") {
      response.setHeader("allow", "GET");
      throw new FlashError("METHOD_NOT_ALLOWED", `'/metrics' does not take ${method}, only GET.`);
    }
    authorize(principal, OTHER_ROUTES.metrics, {});
    const sees = ({ app, environment, name: endpoint }: EndpointRow): boolean =>
      principal.kind !== "key" || isInScope(principal.scope, { app, environment, endpoint });
    const text = await this.#options.metrics.text(sees);
    response.writeHead(200, { "content-type": EXPOSITION_TYPE, "cache-control": "no-store" });
    response.end(text);
  }

  #targetOf(request: IncomingMessage): Target {
    const { host } = request.headers;
    if (this.#isForeign(hostName(host))) {
      throw new FlashError("FORBIDDEN", `This server does not answer for the host '${host}'.`, {
        hint: "Use 127.0.0.1 or localhost, or start the server with --host to serve a network.",
      });
    }
    return readTarget(request.url ?? "/", host);
  }

  /** A page of somebody else's, in a browser of this machine, has given its name our address. */
  #isForeign(name: string | undefined): boolean {
    const { isLoopback, publicHost } = this.#options;
    return isLoopback && !isLocalName(name) && name !== publicHost;
  }

  #answerHealth(
    check: "livez" | "readyz",
    { headers, socket }: IncomingMessage,
    response: ServerResponse,
  ): void {
    const { keyring } = this.#options;
    const proof = keyring.prove(socket.localPort ?? 0, headers[CHALLENGE_HEADER]);
    if (proof !== undefined) response.setHeader(PROOF_HEADER, proof);
    const isReady = this.#state === "open";
    if (check === "livez" || isReady) sendJson(response, 200, { status: "ok" });
    else sendJson(response, 503, { status: this.#state }, { "retry-after": "1" });
  }

  #requireOpen(response: ServerResponse): void {
    if (this.#state === "open") return;
    response.setHeader("connection", "close");
    throw this.#notOpen();
  }

  #notOpen(): FlashError {
    const message = `The server is ${this.#state}.`;
    return new FlashError("UNAVAILABLE", message, { hint: "Try again soon." });
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const target = this.#targetOf(request);
    const link = linkOfWorker(target);
    // As for workers that speak HTTP: until the end they may say how their jobs ended.
    if (this.#state === "starting" || (this.#state === "stopping" && link === undefined))
      throw this.#notOpen();
    if (link !== undefined) return await this.#workers.link(link, { request, socket, head });
    const principal = this.#options.keyring.require(request);
    const over = this.#options.keyring.begin(principal, () => socket.destroy());
    if (over !== undefined) socket.once("close", over);
    if (target.kind !== "lb") {
      throw new FlashError("INVALID_REQUEST", "Only load-balanced endpoints take upgrades.");
    }
    const pool = this.#endpoints.requireLoadBalanced(target.id, request, principal);
    const { trustsProxy = false } = this.#options;
    await serveUpgrade(pool, target.path, { request, socket, head, trustsProxy });
  }

  async #answerJobs(target: Target & { kind: "v2" }, call: ClientCall): Promise<void> {
    const { request, response, principal } = call;
    const pool = await this.#endpoints.requireQueue(target, request, principal);
    const endpoint = {
      row: pool.row,
      releaseId: pool.active.releaseId,
      manifest: pool.active.manifest,
      workerCounts: () => countsForClients(pool),
      readyWorkers: () => pool.readyWorkers(),
    };
    const { jobs, batches, batchStore, limits } = this.#options;
    const context = {
      jobs,
      batches,
      batchStore,
      endpoint,
      principal,
      limits,
      origin: () => this.#spans.ofJob(pool, call),
    };
    await handleJobApi(context, target.operation, request, response);
  }
}

/** True for what needs no key. */
function isOpenTo(target: Target, { method = "GET" }: IncomingMessage): boolean {
  return target.kind === "control" && isPublicControl(target.path, method);
}

/** An answer of the server's own names its request, whoever did not. */
function nameRequest(response: ServerResponse): void {
  if (!response.hasHeader(REQUEST_ID_HEADER)) {
    response.setHeader(REQUEST_ID_HEADER, newRequestId());
  }
}

/** `idle` and `ready`: up, without a job. Source: spec/load-balancing.md B3. */
function countsForClients(pool: Pool): WorkerCounts {
  const counts = pool.counts();
  return {
    idle: counts.IDLE,
    initializing: counts.INITIALIZING,
    ready: counts.IDLE,
    running: counts.RUNNING,
    throttled: counts.THROTTLED,
    unhealthy: counts.UNHEALTHY,
  };
}

/** What the platform's clients know: its job API's failures, and the one of the wrong kind of endpoint. */
function platformForm(error: unknown, { url = "" }: IncomingMessage): Record<string, unknown> {
  const isWrongKind = FlashError.is(error) && error.code === "WRONG_ENDPOINT_KIND";
  return isWrongKind || url.startsWith("/v2/") ? platformMember(error) : {};
}
