/**
 * Plain requests of load-balanced endpoints, at the edge: what lb.ts does, for a request that is there
 * with all its body, and a worker of ours. Nothing of it waits for anything as long as a worker is ready.
 *
 * What cannot be done like this is left to lb.ts before anything has been sent anywhere.
 */

import { headText } from "../../contract/lb-link.ts";
import { REQUEST_ID_HEADER, TIMING_HEADER } from "../../contract/worker-env.ts";
import { answerHead, withHeader, type AnswerHead } from "../edge/answer.ts";
import type { PlainExchange } from "../edge/exchange.ts";
import type { Pool } from "../workers/pool.ts";
import type { PoolWorker } from "../workers/pool-worker.ts";
import type { RequestLink, RequestStream, StreamEvents } from "../workers/request-link.ts";
import type { Affinity } from "../workers/select.ts";
import { endWithClient } from "./ended-side.ts";
import { problemAnswer } from "./http.ts";
import { liveSecret, MAX_TRIES, timeoutOf } from "./lb.ts";
import type { WorkerAnswer } from "./lb-answer.ts";
import { IDEMPOTENT } from "./lb-body.ts";
import type { Outcome } from "./lb-forward.ts";
import { headersForWorker, peerOf, type WorkerHeaders } from "./lb-headers.ts";
import {
  forwardOverLink,
  type ClientEvents,
  type LinkClient,
  type LinkedWorker,
} from "./lb-link.ts";
import { refusalMembers, workerLost } from "./lb-refusals.ts";

export interface PlainRequest {
  exchange: PlainExchange;
  pool: Pool;
  /** As the worker gets it. */
  path: string;
  affinity: Affinity;
  isOperator: boolean;
  trustsProxy: boolean;
  /** What the client calls it. */
  requestId: string | undefined;
  /** The head for a worker, as {@link workerHead} makes it. */
  head: Buffer;
}

/** A request's head as frames carry it. */
export function workerHead(
  exchange: PlainExchange,
  { path, ...options }: { path: string } & WorkerHeaders,
): Buffer {
  const { head, socket } = exchange;
  const headers = headersForWorker({ ...head, ...peerOf(socket) }, options);
  return Buffer.from(headText([head.method, path, ...headers]), "latin1");
}

/** Answers, now or later. False: lb.ts has to, and nothing has happened yet. */
export function servePlain(request: PlainRequest): boolean {
  try {
    const worker = request.pool.tryAcquire(request.affinity);
    // It would have to be left to lb.ts after it has waited, and lose its turn.
    if (worker === undefined && !mayHaveLink(request.pool)) return false;
    const serving = new Serving(request);
    if (worker === undefined) serving.hold();
    else serving.tryWith(worker);
    return true;
  } catch {
    return false;
  }
}

/** Workers without a link speak nothing but HTTP; of one that is not ready nobody knows. */
function mayHaveLink({ workers }: Pool): boolean {
  let isKnown = false;
  for (const worker of workers) {
    if (!worker.isReady) continue;
    if (worker.link?.frames !== undefined) return true;
    isKnown = true;
  }
  return !isKnown;
}

/** One request, until it is answered. Every worker that is taken is given back, once. */
class Serving implements LinkClient {
  hop: ClientEvents | undefined = undefined;
  readonly isRead = true;
  readonly #request: PlainRequest;
  #worker: PoolWorker | undefined;
  #tries = 0;
  /** Of the answer; 0 before there is one. */
  #status = 0;
  readonly #startedAt = performance.now();

  constructor(request: PlainRequest) {
    this.#request = request;
    const { exchange } = request;
    exchange.onEnded = () => {
      const { connection } = exchange.head.headers;
      endWithClient({ socket: exchange.socket, connection });
    };
  }

  /** Waits for a worker, until the client goes away. */
  hold(): void {
    const { pool, affinity, exchange } = this.#request;
    const gone = new AbortController();
    exchange.onGone = () => gone.abort();
    pool.acquire(affinity, gone.signal).then(
      (worker) => this.tryWith(worker),
      (error: unknown) => this.#refuse(error),
    );
  }

  tryWith(worker: PoolWorker): void {
    this.#worker = worker;
    const frames = worker.link?.frames;
    if (frames !== undefined) this.#forward(worker, frames);
    else void this.#open(worker);
  }

  /** A worker that has just become ready has no link yet; others speak nothing but HTTP. */
  async #open(worker: PoolWorker): Promise<void> {
    const { pool, exchange } = this.#request;
    const frames = await worker.link?.opened();
    if (frames !== undefined && !exchange.isGone) {
      this.#forward(worker, frames);
      return;
    }
    pool.giveBack(worker);
    exchange.pass();
  }

  #forward(worker: PoolWorker, frames: RequestLink): void {
    this.#tries += 1;
    const secret = liveSecret(worker, this.#request);
    const { metrics } = this.#request.pool;
    const timed = metrics.isSampled() ? metrics : undefined;
    const to = { id: worker.id, frames, liveSecret: secret, timed };
    forwardOverLink(this, to, (outcome) => this.#tried(worker, outcome));
  }

  #tried(worker: PoolWorker, outcome: Outcome): void {
    const { pool } = this.#request;
    // Its other connections are as dead as this one; a try with each would use up the tries.
    if (outcome.kind === "lost") pool.suspect(worker);
    pool.giveBack(worker);
    if (outcome.kind === "refused") this.#refuse(outcome.error);
    else if (outcome.kind !== "lost") this.#count();
    else if (this.#tries < MAX_TRIES && this.#mayRepeat(outcome)) this.hold();
    else this.#refuse(workerLost(this.endpoint, outcome.cause));
  }

  #mayRepeat({ hadArrived }: Outcome & { kind: "lost" }): boolean {
    return !hadArrived || IDEMPOTENT.has(this.method);
  }

  /** A problem document that names the worker, when one was involved. */
  #refuse(error: unknown): void {
    const { status, text, headers } = problemAnswer(error, refusalMembers(error));
    const id = this.#worker?.id;
    const { requestId } = this.#request;
    const all = {
      ...(requestId === undefined ? {} : { [REQUEST_ID_HEADER]: requestId }),
      ...(id === undefined ? {} : { "X-Runpod-Worker-Id": id }),
      "content-type": headers["content-type"] ?? "",
      "content-length": String(Buffer.byteLength(text)),
      ...headers,
    };
    this.#status = this.#request.exchange.isGone ? 0 : status;
    this.#count();
    this.#request.exchange.answer(answerHead(status, Object.entries(all).flat()), text);
  }

  #named(head: AnswerHead): AnswerHead {
    return withHeader(head, REQUEST_ID_HEADER, this.#request.requestId);
  }

  #count(): void {
    this.#request.pool.metrics.requested(this.#status, this.#startedAt);
  }

  // The client's side of the link.

  get method(): string {
    return this.#request.exchange.head.method;
  }

  get isBegun(): boolean {
    return this.#request.exchange.isBegun;
  }

  get isDone(): boolean {
    return false;
  }

  get endpoint(): string {
    return this.#request.pool.row.name;
  }

  get timeoutMs(): number {
    return timeoutOf(this.#request.pool);
  }

  send({ frames, liveSecret, timed }: LinkedWorker, events: StreamEvents): RequestStream {
    const { exchange, head: usual, path, trustsProxy } = this.#request;
    exchange.onGone = () => this.hop?.clientGone();
    const own =
      liveSecret === undefined ? usual : workerHead(exchange, { path, trustsProxy, liveSecret });
    const head = timed === undefined ? own : Buffer.concat([own, TIMED]);
    return frames.openWhole({ head, body: exchange.body }, events);
  }

  answer({ plain }: WorkerAnswer, body: Buffer): void {
    this.#status = plain.status;
    this.#request.exchange.answer(this.#named(plain), body);
  }

  begin({ plain }: WorkerAnswer): void {
    this.#status = plain.status;
    this.#request.exchange.begin(this.#named(plain));
  }

  write(bytes: Buffer): boolean {
    const { exchange } = this.#request;
    exchange.onDrain ??= () => this.hop?.clientDrained();
    return exchange.write(bytes);
  }

  end(): void {
    this.#request.exchange.end();
  }

  breakOff(): void {
    this.#request.exchange.breakOff();
  }

  /** Its body is there already. */
  detach(): void {}

  leave(): void {
    this.hop = undefined;
    const { exchange } = this.#request;
    exchange.onGone = undefined;
    exchange.onDrain = undefined;
  }
}

/** What makes a head that of a request that is timed on both sides. */
const TIMED = Buffer.from(`\0${TIMING_HEADER}\x001`, "latin1");
