/**
 * The platform's limits for requests to one endpoint, for those who want to meet them before they
 * move there; a server of one's own has none unless it is told to. Source: spec/job-api.md 10.1.
 */

import { FlashError } from "../../contract/errors.ts";
import type { Clock } from "../../kit/clock.ts";

interface Limit {
  /** Requests in {@link WINDOW_MS}. */
  rate: number;
  /** Requests at once. */
  concurrent: number;
}

const WINDOW_MS = 10_000;
/** The platform raises a limit with the number of running workers; by how much it does not say. */
const RATE_PER_WORKER = 100;

/** How many jobs may wait for an endpoint's workers. */
export interface QueueLimit {
  /** So many always … */
  free: number;
  /** … and so many for each worker that the endpoint may have. */
  perWorker: number;
}

const QUEUE_LIMIT: QueueLimit = { free: 50, perWorker: 500 };
const QUEUE_RETRY_S = 10;

const LIMITS: ReadonlyMap<string, Limit> = new Map([
  ["runsync", { rate: 2000, concurrent: 400 }],
  ["run", { rate: 1000, concurrent: 200 }],
  ["status", { rate: 2000, concurrent: 400 }],
  ["status-sync", { rate: 2000, concurrent: 400 }],
  ["stream", { rate: 2000, concurrent: 400 }],
  ["cancel", { rate: 100, concurrent: 20 }],
  ["purge-queue", { rate: 2, concurrent: Number.POSITIVE_INFINITY }],
  ["openai", { rate: 2000, concurrent: 400 }],
  ["requests", { rate: 10, concurrent: 2 }],
]);

interface Use {
  /** The window that is being counted, monotonic ms. */
  since: number;
  count: number;
  open: number;
}

export interface LimitedRequest {
  endpointId: string;
  operation: string;
  /** Workers that have work now. */
  running: number;
}

export class RateLimits {
  readonly #clock: Clock;
  readonly #queueLimit: QueueLimit;
  readonly #uses = new Map<string, Use>();

  constructor(clock: Clock, queueLimit: QueueLimit = QUEUE_LIMIT) {
    this.#clock = clock;
    this.#queueLimit = queueLimit;
  }

  /** Counts a request; call the returned function when it is over, once or more often. Throws `OVERLOADED`. */
  enter({ endpointId, operation, running }: LimitedRequest): () => void {
    const limit = LIMITS.get(operation);
    if (limit === undefined) return () => undefined;
    const use = this.#use(`${endpointId}/${operation}`);
    const rate = operation === "purge-queue" ? limit.rate : raised(limit.rate, running);
    if (use.count >= rate) {
      const leftMs = use.since + WINDOW_MS - this.#clock.elapsed();
      throw tooMany(`${rate} requests in ${WINDOW_MS / 1000} s`, operation, leftMs);
    }
    if (use.open >= limit.concurrent) {
      throw tooMany(`${limit.concurrent} requests at once`, operation, 1000);
    }
    use.count += 1;
    use.open += 1;
    let isOpen = true;
    return () => {
      if (isOpen) use.open -= 1;
      isOpen = false;
    };
  }

  /** Before a job is accepted. Throws `OVERLOADED` when too many wait for too few workers. */
  checkQueue(queued: number, workersMax: number): void {
    const { free, perWorker } = this.#queueLimit;
    const most = Math.max(free, workersMax * perWorker);
    if (queued <= most) return;
    const message = `The queue of this endpoint is full: ${queued} jobs wait, and ${most} may.`;
    throw new FlashError("OVERLOADED", message, {
      hint: `Try again in ${QUEUE_RETRY_S} s, or raise the endpoint's 'workers'.`,
      details: { retryAfterS: QUEUE_RETRY_S },
    });
  }

  #use(key: string): Use {
    const now = this.#clock.elapsed();
    const use = this.#uses.get(key) ?? { since: now, count: 0, open: 0 };
    this.#uses.set(key, use);
    if (now - use.since >= WINDOW_MS) {
      use.since = now;
      use.count = 0;
    }
    return use;
  }
}

function raised(base: number, running: number): number {
  return Math.max(base, running * RATE_PER_WORKER);
}

function tooMany(limit: string, operation: string, waitMs: number): FlashError {
  const retryAfterS = Math.max(1, Math.ceil(waitMs / 1000));
  return new FlashError("OVERLOADED", `'/${operation}' of an endpoint takes ${limit}.`, {
    hint: `Try again in ${retryAfterS} s.`,
    details: { retryAfterS },
  });
}
