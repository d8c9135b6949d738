/**
 * The front door: who calls, what they want, and who answers. Every request of every plane comes
 * through `handle`, or through `respond` when it is plain (server/edge); nothing behind it sees a request without a key or outside the caller's scope.
 *
 *   target       where a request wants to go
 *   auth         keys, and how far a worker's secret reaches
 *   origin       where a call comes from, and loops of calls
 *   http         bodies, JSON, problem documents
 *   lb, lb-…     load-balanced endpoints
 *   job-api      queue endpoints, for clients; job-plain: what the edge answers of it
 *   worker-api   queue endpoints, for workers
 *   job-link     the same over one connection, for workers of ours
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import {
  jobRouteOf,
  OTHER_ROUTES,
  WORKER_ROUTES,
  type ApiRoute,
} from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import { isInScope, type Resource } from "../../contract/access.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Origin } from "../../contract/origin.ts";
import type { Trace } from "../../contract/trace.ts";
import { LINK_PROTOCOL } from "../../contract/job-link.ts";
import type { BatchStore } from "../../contract/batch.ts";
import {
  EXPECTED_VERSION_HEADER,
  REQUEST_ID_HEADER,
  NAME_HEADERS,
  WORKER_ID_HEADER,
} from "../../contract/worker-env.ts";
import type { Clock } from "../../kit/clock.ts";
import { sleep } from "../../kit/clock.ts";
import { givenRequestId, newRequestId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { Control } from "../control/control.ts";
import { handleControl, isPublicControl } from "../control/control-api.ts";
import type { PlainExchange } from "../edge/exchange.ts";
import { sendLoginPage } from "../identity/login-page.ts";
import type { Identity } from "../identity/identity.ts";
import type { Batches } from "../jobs/batches.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Fleet } from "../workers/fleet.ts";
import { EXPOSITION_TYPE } from "../metrics/exposition.ts";
import type { Tracer } from "../traces/tracer.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Pool } from "../workers/pool.ts";
import type { PoolWorker } from "../workers/pool-worker.ts";
import { clientAddress } from "./client-address.ts";
import { authorize, type Keyring } from "./auth.ts";
import { sendJson, sendProblem, type Principal } from "./http.ts";
import { handleJobApi, type WorkerCounts } from "./job-api.ts";
import { JobLink } from "./job-link.ts";
import { planJob, servePlainJob, type JobPlan } from "./job-plain.ts";
import { serveLoadBalanced } from "./lb.ts";
import { servePlain, workerHead } from "./lb-plain.ts";
import { isUpgrade, refuseUpgrade, serveUpgrade, type UpgradeRequest } from "./lb-upgrade.ts";
import { callerNameOf, originOf } from "./origin.ts";
import type { Cors } from "./cors.ts";
import type { RateLimits } from "./rate-limits.ts";
import { readAffinity, type Affinity } from "../workers/select.ts";
import { hostName, isLocalName, readTarget, type Target } from "./target.ts";
import { handleWorkerApi } from "./worker-api.ts";

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

const LINK_OPERATION = "job-link";
const WORKER_OPERATIONS = new Set(
  Object.keys(WORKER_ROUTES).filter((name) => name !== LINK_OPERATION),
);
/** What only the operator may ask for: an operation that is in no table does not open to anybody else. */
const UNKNOWN_ROUTE: Pick<ApiRoute, "access" | "touches"> = {
  access: { verbs: ["admin"] },
  touches: "server",
};
/** Operations on a job, whose id alone tells the endpoint. */
const JOB_OPERATIONS = new Set(["status", "status-sync", "stream", "cancel", "retry"]);
/** The pseudo id of calls by name. */
const BY_NAME = "flash";
const NOWHERE: Origin = { chain: [] };
/** Workers try again at once after a 401, so it is held, ms. Source: spec/worker-protocol.md 16. */
const UNAUTHORIZED_HOLD_MS = 1000;
/** What a worker leaves in its take URL. Source: spec/worker-protocol.md 2.3. */
const UNEXPANDED_WORKER = "$RUNPOD_POD_ID";

export class Gateway {
  readonly #options: GatewayOptions;
  /** By worker. */
  readonly #links = new Map<string, JobLink>();
  #state: "starting" | "open" | "stopping" = "starting";
  #answering = 0;
  #onQuiet: () => void = () => undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
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
    for (const link of this.#links.values()) link.close();
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
      else sendProblem(response, error, platformForm(error));
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
    const plan = this.#planOf(exchange);
    if (plan === undefined) return false;
    this.#answering += 1;
    exchange.onOver = () => this.#answered();
    if (this.#answerPlain(exchange, plan)) return true;
    exchange.onOver = undefined;
    this.#answered();
    return false;
  }

  #answerPlain(exchange: PlainExchange, plan: PlainPlan): boolean {
    const { headers } = exchange.head;
    const principal = this.#options.keyring.recognise({ headers, socket: exchange.socket });
    if (principal === undefined) return false;
    return plan.kind === "job"
      ? this.#answerPlainJob(exchange, plan, principal)
      : this.#answerPlainRequest(exchange, plan, principal);
  }

  #answerPlainJob(exchange: PlainExchange, plan: JobPlan, principal: Principal): boolean {
    const { headers } = exchange.head;
    let pool: Pool;
    try {
      pool = this.#endpoint(plan.id, { headers }, { principal, route: plan.route });
    } catch {
      return false;
    }
    // Calls of workers tell where they come from.
    if (pool.row.kind === "lb" || principal.kind === "worker") return false;
    const { row, active } = pool;
    const endpoint = { row, releaseId: active.releaseId, manifest: active.manifest };
    const { jobs, log } = this.#options;
    return servePlainJob({ plan, exchange, endpoint, jobs, log });
  }

  #answerPlainRequest(exchange: PlainExchange, plan: Plan, principal: Principal): boolean {
    const { headers } = exchange.head;
    let pool: Pool;
    try {
      pool = this.#loadBalanced(plan.id, { headers }, principal);
    } catch {
      return false;
    }
    // Calls of workers carry more than a plain request, and stale ones are refused.
    if (principal.kind === "worker" || isStale(plan, pool)) return false;
    const { path, affinity, head, requestId } = plan;
    const isOperator = principal.kind === "operator";
    return servePlain({ path, affinity, head, requestId, exchange, pool, isOperator });
  }

  /** What follows from the head alone, once for every head that a connection has. */
  #planOf(exchange: PlainExchange): PlainPlan | undefined {
    const { head } = exchange;
    if (head.plan !== undefined) return head.plan as PlainPlan;
    if (this.#isForeign(hostName(head.host))) return undefined;
    const target = readTarget(head.target, head.host);
    head.plan = this.#planFor(exchange, target);
    return head.plan as PlainPlan | undefined;
  }

  #planFor(exchange: PlainExchange, target: Target): PlainPlan | undefined {
    if (target.kind === "lb") return new Plan(exchange, target);
    // Whoever counts requests counts them all in one place.
    const isCounted = this.#options.limits !== undefined;
    return target.kind === "v2" && !isCounted ? planJob(exchange.head, target) : undefined;
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
    if (target.kind === "health") return this.#answerHealth(target.check, response);
    const isWorker = target.kind === "v2" && WORKER_OPERATIONS.has(target.operation[0] ?? "");
    // Until the end workers may say how their jobs ended: unmodified ones say it once.
    if (!isWorker || this.#state === "starting") this.#requireOpen(response);
    if (isWorker) {
      return await this.#answerWorker(target, request, response);
    }
    if (target.kind === "none" && target.path === "/login") return sendLoginPage(response);
    const principal = isOpenTo(target, request) ? NOBODY : this.#options.keyring.require(request);
    if (target.kind === "lb") {
      const pool = this.#loadBalanced(target.id, request, principal);
      const isOperator = principal.kind === "operator";
      const isTold = principal.kind === "worker" || this.#options.tracer !== undefined;
      const origin = isTold ? this.#originOf(request, principal) : undefined;
      const trace = this.#beginSpan(pool, target.path, { request, response, origin });
      const told = origin === undefined ? {} : { origin };
      const http = { request, response, isOperator, trace, ...told };
      return await serveLoadBalanced(pool, target.path, http);
    }
    if (target.kind === "metrics") return await this.#answerMetrics(request, response, principal);
    nameRequest(response);
    // The load-balanced plane asks for the body itself, once it has a worker.
    if (request.headers.expect !== undefined) response.writeContinue();
    if (target.kind === "v2") return await this.#answerJobs(target, principal, request, response);
    if (target.kind === "control") {
      const { control, identity } = this.#options;
      const { path, query } = target;
      const method = request.method ?? "GET";
      const from = clientAddress(request, { trustsProxy: this.#options.trustsProxy ?? false });
      const call = { control, identity, principal, method, path, query, from };
      return await handleControl({ ...call, request, response });
    }
    throw new FlashError("NOT_FOUND", `Nothing is served at '${target.path}'.`, {
      hint: "Queue endpoints are at /v2/{id}, load-balanced ones at /lb/{id}, control at /api/v1.",
    });
  }

  async #answerMetrics(
    { method }: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
  ): Promise<void> {
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

  #answerHealth(check: "livez" | "readyz", response: ServerResponse): void {
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
    const isLink = target.kind === "v2" && target.operation[0] === LINK_OPERATION;
    // As for workers that speak HTTP: until the end they may say how their jobs ended.
    if (this.#state === "starting" || (this.#state === "stopping" && !isLink))
      throw this.#notOpen();
    if (!isUpgrade(request)) {
      const message = "An upgrade is a GET without a body, and not to HTTP/2.";
      throw new FlashError("INVALID_REQUEST", message, { hint: "Send it without 'Upgrade'." });
    }
    if (isLink) return await this.#link(target, { request, socket, head });
    const principal = this.#options.keyring.require(request);
    if (target.kind !== "lb") {
      throw new FlashError("INVALID_REQUEST", "Only load-balanced endpoints take upgrades.");
    }
    const pool = this.#loadBalanced(target.id, request, principal);
    await serveUpgrade(pool, target.path, { request, socket, head });
  }

  /** Its span ends with the answer. Undefined: nobody keeps traces. */
  #beginSpan(
    pool: Pool,
    path: string,
    http: { request: IncomingMessage; response: ServerResponse; origin: Origin | undefined },
  ): Trace | undefined {
    const { tracer } = this.#options;
    const { request, response, origin = NOWHERE } = http;
    if (tracer === undefined) return undefined;
    const span = tracer.request(pool.row, origin, { method: request.method ?? "GET", path });
    response.once("close", () => span.end(response.headersSent ? response.statusCode : 0));
    return span.trace;
  }

  #originOf(request: IncomingMessage, principal: Principal): Origin {
    const nameOf = (id: string): string | undefined => this.#options.fleet.pool(id)?.row.name;
    return originOf(request, callerNameOf(principal, nameOf));
  }

  /** Asked once, by what submits a job. */
  #originOfJob(
    pool: Pool,
    {
      request,
      response,
      principal,
    }: { request: IncomingMessage; response: ServerResponse; principal: Principal },
  ): Origin {
    const origin = this.#originOf(request, principal);
    const trace = this.#beginSpan(pool, request.url ?? "/", { request, response, origin });
    return trace === undefined ? origin : { ...origin, trace };
  }

  #loadBalanced(id: string, request: Named, principal: Principal): Pool {
    const pool = this.#endpoint(id, request, { principal, route: OTHER_ROUTES.request });
    if (pool.row.kind === "lb") return pool;
    throw new FlashError("WRONG_ENDPOINT_KIND", "not allowed for QB API", {
      hint: `'${pool.row.name}' is a queue endpoint: use /v2/${pool.row.id}/run or /runsync.`,
    });
  }

  async #answerJobs(
    target: Target & { kind: "v2" },
    principal: Principal,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { operation } = target;
    const pool =
      (await this.#poolOfJob(target, request, principal)) ??
      this.#endpoint(target.id, request, { principal, route: routeOf(target, request) });
    if (pool.row.kind === "lb" && operation[0] !== "health") {
      throw new FlashError(
        "WRONG_ENDPOINT_KIND",
        `'${pool.row.name}' is a load-balanced endpoint: it has no '${operation[0] ?? ""}'.`,
        { hint: `Send requests to /lb/${pool.row.id}{path}.` },
      );
    }
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
      origin: () => this.#originOfJob(pool, { request, response, principal }),
    };
    await handleJobApi(context, operation, request, response);
  }

  /** Calls by name may leave the name out when they name a job. */
  async #poolOfJob(
    target: Target & { kind: "v2" },
    request: IncomingMessage,
    principal: Principal,
  ): Promise<Pool | undefined> {
    const [operation = "", jobId = ""] = target.operation;
    const isNamed = request.headers[NAME_HEADERS.endpoint] !== undefined;
    if (target.id !== BY_NAME || isNamed || !JOB_OPERATIONS.has(operation)) return undefined;
    const job = await this.#options.jobs.get(jobId);
    const pool = job === undefined ? undefined : this.#options.fleet.pool(job.endpointId);
    if (pool === undefined) throw new FlashError("JOB_NOT_FOUND", `There is no job '${jobId}'.`);
    authorize(principal, routeOf(target, request), resourceOf(pool));
    return pool;
  }

  async #answerWorker(
    target: Target & { kind: "v2" },
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { pool, workerId, worker } = await this.#requireWorker(target, request);
    if (request.headers.expect !== undefined) response.writeContinue();
    if (worker === undefined) stayUntilClosed(response, pool.guests.enter(workerId));
    const call = {
      jobs: this.#options.jobs,
      endpointId: target.id,
      // A guest's image is none of ours: it takes the jobs of every release.
      releaseId: worker?.version.releaseId,
      worker: { id: workerId, secretOk: true },
      onSeen: (id: string) => pool.seen(id),
      onUnhealthy: (id: string, { check, reason }: { check: string; reason: string }) =>
        pool.reportUnfit(id, `fitness check '${check}' failed: ${reason}`),
    };
    await handleWorkerApi(call, target.operation, request, response);
  }

  /**
   * Whose key it is, when that is the worker that the path names; without a `worker` it is a guest.
   * Throws `UNAUTHORIZED` after a while.
   */
  async #requireWorker(
    target: Target & { kind: "v2" },
    request: IncomingMessage,
  ): Promise<{ pool: Pool; workerId: string; worker: PoolWorker | undefined }> {
    const { keyring, fleet, clock } = this.#options;
    // Unmodified workers append `&name=value` to a template without `?`.
    const named = (target.operation[1] ?? "").split("&", 1)[0] ?? "";
    const principal = keyring.find(request.headers.authorization);
    // They do not expand it in a take template; then the key says who it is.
    const isLiteral = named === UNEXPANDED_WORKER && principal?.kind === "worker";
    const workerId = isLiteral ? (principal.workerId ?? "") : named;
    const isOwn =
      principal?.kind === "worker" &&
      principal.endpointId === target.id &&
      principal.workerId === workerId;
    const pool = fleet.pool(target.id);
    const worker = pool?.worker(workerId);
    const isGuest = isOwn && principal.isGuest === true && isForGuests(pool);
    if (isOwn && pool !== undefined && (worker !== undefined || isGuest)) {
      return { pool, workerId, worker };
    }
    await sleep(clock, UNAUTHORIZED_HOLD_MS);
    throw new FlashError("UNAUTHORIZED", "The key is not that of a running worker.");
  }

  async #link(
    target: Target & { kind: "v2" },
    { request, socket, head }: UpgradeRequest,
  ): Promise<void> {
    const { pool, workerId, worker } = await this.#requireWorker(target, request);
    if (request.headers.upgrade !== LINK_PROTOCOL || pool.row.kind !== "qb") {
      throw new FlashError("INVALID_REQUEST", `A job link is an upgrade to '${LINK_PROTOCOL}'.`);
    }
    const { jobs, log } = this.#options;
    const link = new JobLink({
      jobs,
      socket,
      endpointId: pool.row.id,
      releaseId: worker?.version.releaseId,
      workerId,
      onSeen: () => pool.seen(workerId),
      log: log.with({ endpoint: pool.row.name, worker: workerId }),
    });
    const leave = worker === undefined ? pool.guests.enter(workerId) : undefined;
    worker?.onGone(() => link.close());
    // An earlier one is dead, whether the operating system has noticed or not.
    this.#links.get(workerId)?.close();
    this.#links.set(workerId, link);
    await link.serve(head);
    if (this.#links.get(workerId) === link) this.#links.delete(workerId);
    leave?.();
  }

  /** The endpoint of that id, or of the name headers when the id is `flash`. */
  #endpoint(id: string, request: Named, caller: Caller): Pool {
    const pool = id === BY_NAME ? this.#byName(request, caller) : this.#options.fleet.pool(id);
    if (pool === undefined) {
      throw new FlashError("ENDPOINT_NOT_FOUND", `There is no endpoint '${id}'.`, {
        hint: "'flash status' lists the endpoints with their URLs.",
      });
    }
    authorize(caller.principal, caller.route, resourceOf(pool));
    return pool;
  }

  #byName(request: Named, { principal, route }: Caller): Pool {
    const app = nameOf(request, "app");
    const environment = nameOf(request, "environment");
    const name = nameOf(request, "endpoint");
    // Asked before looking: nobody learns anything about other environments.
    authorize(principal, route, { app, environment, endpoint: name });
    const pool = this.#options.fleet.find(app, environment, name);
    if (pool !== undefined) return pool;
    throw new FlashError(
      "ENDPOINT_NOT_FOUND",
      `There is no endpoint '${name}' in the environment '${environment}' of the app '${app}'.`,
      { hint: "Run 'flash deploy', or look at 'flash status'." },
    );
  }
}

const NOBODY: Principal = { kind: "nobody" };

/** True for what needs no key. */
function isOpenTo(target: Target, { method = "GET" }: IncomingMessage): boolean {
  return target.kind === "control" && isPublicControl(target.path, method);
}

/** Who calls, and what. */
interface Caller {
  principal: Principal;
  route: Pick<ApiRoute, "access" | "touches">;
}

function routeOf(target: Target & { kind: "v2" }, request: IncomingMessage): Caller["route"] {
  return jobRouteOf(target.operation[0] ?? "", request.method ?? "") ?? UNKNOWN_ROUTE;
}

function resourceOf({ row: { app, environment, name } }: Pool): Resource {
  return { app, environment, endpoint: name };
}

/** The headers of a request, which may name an endpoint. */
interface Named {
  headers: Readonly<Partial<Record<string, string | string[]>>>;
}

type PlainPlan = Plan | JobPlan;

/** Where a plain request goes, and what a worker gets of its head. */
class Plan {
  readonly kind = "lb";
  readonly id: string;
  readonly path: string;
  readonly affinity: Affinity;
  readonly head: Buffer;
  readonly requestId: string | undefined;
  /** The version that the call was encoded for, if it says. */
  readonly expected: string | undefined;

  constructor(exchange: PlainExchange, { id, path }: Target & { kind: "lb" }) {
    this.id = id;
    this.path = path;
    this.affinity = readAffinity(exchange.head.headers[WORKER_ID_HEADER]);
    this.head = workerHead(exchange, path);
    this.requestId = givenRequestId(exchange.head.headers[REQUEST_ID_HEADER]);
    this.expected = exchange.head.headers[EXPECTED_VERSION_HEADER];
  }
}

function isStale({ expected }: Pick<Plan, "expected">, pool: Pool): boolean {
  return expected !== undefined && expected !== pool.active.manifest.fingerprint;
}

/** An answer of the server's own names its request, whoever did not. */
function nameRequest(response: ServerResponse): void {
  if (!response.hasHeader(REQUEST_ID_HEADER)) {
    response.setHeader(REQUEST_ID_HEADER, newRequestId());
  }
}

/** Also when the connection ended before anybody listened. */
function stayUntilClosed(response: ServerResponse, leave: () => void): void {
  if (response.closed || response.destroyed) leave();
  else response.once("close", leave);
}

/** Whoever has a key of an endpoint that has since got code of its own is not needed any more. */
function isForGuests(pool: Pool | undefined): boolean {
  return pool?.active.manifest.form === "image";
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

/** The platform's own body for the wrong kind of endpoint, which its clients know. */
function platformForm(error: unknown): Record<string, unknown> {
  const isWrongKind = FlashError.is(error) && error.code === "WRONG_ENDPOINT_KIND";
  return isWrongKind ? { error: error.message } : {};
}

function nameOf(request: Named, part: keyof typeof NAME_HEADERS): string {
  const value = request.headers[NAME_HEADERS[part]];
  if (typeof value === "string" && value !== "") return value;
  throw new FlashError("INVALID_REQUEST", `The header '${NAME_HEADERS[part]}' is missing.`, {
    hint: "Calls by name need X-Flash-App, X-Flash-Environment and X-Flash-Endpoint.",
  });
}
