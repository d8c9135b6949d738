/**
 * The data plane of load-balanced endpoints: holds a request until a worker is there, forwards it, and
 * answers itself when no worker can.
 *
 *   lb-plain     the same for plain requests, at the edge
 *   lb-headers   what passes and what ends at the gateway
 *   lb-body      the request's body: streamed, counted, kept as far as it may be sent again
 *   lb-forward   one try with one worker, over HTTP
 *   lb-link      the same over the request link of a worker of ours
 *   lb-client    the client's side of it, when node:http has read the request
 *   lb-answer    a worker's answer on the link
 *   lb-refusals  what the gateway says itself
 *   lb-upgrade   WebSockets
 *
 *   1  A body is not read before a worker is connected.
 *   2  A request that may have reached a worker is sent again only when it is idempotent.
 *   3  Every worker that is taken is given back, once.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Origin } from "../../contract/origin.ts";
import type { Trace } from "../../contract/trace.ts";
import { EXPECTED_VERSION_HEADER, WORKER_ID_HEADER } from "../../contract/worker-env.ts";
import type { Pool } from "../workers/pool.ts";
import type { PoolWorker } from "../workers/pool-worker.ts";
import { readAffinity, type Affinity } from "../workers/select.ts";
import { callerOf, endWithClient, onClientEnd } from "./ended-side.ts";
import { clientSignal, sendProblem } from "./http.ts";
import { originHeaders, traceHeaders, refuseRouteLoop, refuseStale } from "./origin.ts";
import { RequestBody } from "./lb-body.ts";
import { NodeClient } from "./lb-client.ts";
import { forward, type Exchange, type Outcome } from "./lb-forward.ts";
import { forwardOverLink, type LinkedWorker } from "./lb-link.ts";
import { refusalMembers, requestTooLarge, workerLost } from "./lb-refusals.ts";

const NONE: readonly string[] = [];
/** Workers that are tried for one request. */
export const MAX_TRIES = 5;

/** Answers a request with path `path` (query included) for a load-balanced endpoint. */
export async function serveLoadBalanced(pool: Pool, path: string, http: Incoming): Promise<void> {
  const startedAt = performance.now();
  let status = 0;
  try {
    await serve(pool, path, http);
    if (http.response.headersSent) status = http.response.statusCode;
  } catch (error) {
    if (FlashError.is(error)) ({ status } = error);
    throw error;
  } finally {
    pool.metrics.requested(status, startedAt);
  }
}

interface Incoming {
  request: IncomingMessage;
  response: ServerResponse;
  isOperator: boolean;
  trustsProxy: boolean;
  origin?: Origin;
  /** The span of this request, when somebody keeps traces. */
  trace?: Trace | undefined;
}

async function serve(pool: Pool, path: string, http: Incoming): Promise<void> {
  const { request, response, origin, trace } = http;
  onClientEnd(response, () => endWithClient(callerOf(response)));
  const body = new RequestBody({ request, response, maxBytes: LIMITS.lbBodyBytes });
  if (body.isAnnouncedTooLarge) throw requestTooLarge();
  refuseCodings(request);
  refuseStale(request.headers[EXPECTED_VERSION_HEADER], pool.active.manifest);
  if (origin !== undefined) {
    refuseRouteLoop(origin, pool.active.manifest, { method: request.method, path });
  }
  const exchange: Exchange = {
    request,
    response,
    body,
    path,
    isOperator: http.isOperator,
    trustsProxy: http.trustsProxy,
    ownHeaders: [
      ...(origin === undefined ? NONE : originHeaders(origin)),
      ...(trace === undefined ? NONE : traceHeaders(trace)),
    ],
    endpoint: pool.row.name,
    timeoutMs: timeoutOf(pool),
  };
  const affinity = readAffinity(affinityHeader(request));
  let lastTried: string | undefined;
  for (let tries = 1; ; tries++) {
    let worker: PoolWorker;
    try {
      worker = pool.tryAcquire(affinity) ?? (await hold(pool, affinity, response));
    } catch (error) {
      if (!response.destroyed) refuse(http, error, lastTried);
      return;
    }
    lastTried = worker.id;
    const outcome = await tryWorker(pool, worker, exchange);
    if (outcome.kind === "answered" || outcome.kind === "left") return;
    if (outcome.kind === "refused") {
      refuse(http, outcome.error, worker.id);
      return;
    }
    if (tries < MAX_TRIES && mayRepeat(outcome, body)) continue;
    refuse(http, workerLost(pool.row.name, outcome.cause), worker.id);
    return;
  }
}

/** Any coding but chunks would lose its name at the gateway, and the worker take the bytes for the body. */
function refuseCodings(request: IncomingMessage): void {
  const coding = request.headers["transfer-encoding"]?.trim().toLowerCase();
  if (coding === undefined || coding === "chunked") return;
  throw new FlashError("NOT_SUPPORTED", `The transfer coding '${coding}' is not supported.`, {
    hint: "Use Content-Encoding to compress a body.",
  });
}

/** The value of the affinity header; several of them are none. */
export function affinityHeader(request: IncomingMessage): string | undefined {
  const value = request.headers[WORKER_ID_HEADER];
  return typeof value === "string" ? value : undefined;
}

/** Waits for a worker, until the client goes away. */
async function hold(pool: Pool, affinity: Affinity, response: ServerResponse): Promise<PoolWorker> {
  return await pool.acquire(affinity, clientSignal(response));
}

async function tryWorker(pool: Pool, worker: PoolWorker, exchange: Exchange): Promise<Outcome> {
  const { id, link } = worker;
  try {
    // A ready worker has a link; its end may have come between choosing and sending.
    if (link === undefined) {
      return { kind: "lost", hadArrived: false, cause: new Error("the worker has no address") };
    }
    const { frames } = link;
    const timed = pool.metrics.isSampled() ? pool.metrics : undefined;
    const to = { id, liveSecret: liveSecret(worker, exchange), timed };
    const outcome =
      frames === undefined
        ? await forward(exchange, { ...to, link })
        : await overLink(exchange, { ...to, frames });
    // Its other kept-alive connections are as dead as this one; a try with each would use up the tries.
    if (outcome.kind === "lost") pool.suspect(worker);
    return outcome;
  } finally {
    pool.giveBack(worker);
  }
}

function overLink(exchange: Exchange, worker: LinkedWorker): Promise<Outcome> {
  return new Promise((resolve) => {
    forwardOverLink(new NodeClient(exchange), worker, resolve);
  });
}

/** A live worker runs the code of a request that has its secret: only the server's key gets it. */
export function liveSecret(
  { version, secret }: PoolWorker,
  { isOperator }: { isOperator: boolean },
): string | undefined {
  return isOperator && version.manifest.executes !== undefined ? secret : undefined;
}

function mayRepeat(outcome: Outcome & { kind: "lost" }, body: RequestBody): boolean {
  if (!body.mayRepeat) return false;
  return !outcome.hadArrived || body.isIdempotent;
}

/** A problem document that names the worker, when one was involved. */
function refuse(
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  error: unknown,
  workerId: string | undefined,
): void {
  // What is left of a body that was begun is read and dropped: the next request comes after it.
  request.resume();
  if (workerId !== undefined && !response.headersSent) {
    response.setHeader("X-Runpod-Worker-Id", workerId);
  }
  sendProblem(response, error, refusalMembers(error));
}

/** Until an answer has to begin, ms. */
export function timeoutOf(pool: Pool): number {
  const { executionTimeoutMs } = pool.active.manifest.options;
  return executionTimeoutMs > 0 ? executionTimeoutMs : LIMITS.lbProcessingMs;
}
