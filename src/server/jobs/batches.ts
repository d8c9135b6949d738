/**
 * Batches: fills them, and turns their requests into jobs a few at a time. An endpoint has only about
 * as many of them in its queue as its workers can take next, so that single jobs, which come in between,
 * do not wait for a whole batch.
 *
 * A request becomes a job in one transaction of the store, so a restart goes on where the last server
 * stopped.
 */

import {
  BATCH_REQUEST_PREFIX,
  type BatchRefusal,
  type BatchRow,
  type NewBatchRequest,
} from "../../contract/batch.ts";
import type { Store } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import { newPrefixedId, uuidv7 } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { Jobs, JobTarget } from "./jobs.ts";
import { readKey } from "./rules.ts";

/** Where an endpoint's requests go, and how many its workers can have at once. */
export interface BatchTarget extends JobTarget {
  capacity: number;
}

export interface BatchesOptions {
  store: Store;
  jobs: Jobs;
  clock: Clock;
  log: Log;
  /** Undefined when the endpoint is no longer there. */
  targetOf: (endpointId: string) => BatchTarget | undefined;
}

/** As a client gives it. `input`: JSON text; `key`: anything. */
export interface GivenRequest {
  input: string;
  key?: unknown;
}

/** As many wait for each one that can run. */
const AHEAD = 2;
const LEAST_AHEAD = 4;
/** After a full disk, ms. */
const TRY_AGAIN_MS = 1000;

interface Feed {
  run: Promise<void>;
  /** Something has happened since the last look. */
  again: boolean;
}

export class Batches {
  readonly #options: BatchesOptions;
  /** Endpoints whose queue is being filled. */
  readonly #feeds = new Map<string, Feed>();
  readonly #stopListening: () => void;
  #isClosed = false;

  constructor(options: BatchesOptions) {
    this.#options = options;
    this.#stopListening = options.jobs.onSettled(({ id, endpointId }) => {
      if (id.startsWith(BATCH_REQUEST_PREFIX)) this.#feed(endpointId);
    });
  }

  /** Goes on with what an earlier server had begun. */
  async start(): Promise<void> {
    for (const endpointId of await this.#options.store.batches.endpoints()) this.#feed(endpointId);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopListening();
    await Promise.all([...this.#feeds.values()].map(({ run }) => run));
  }

  create(endpointId: string, given: readonly GivenRequest[]): Promise<BatchRow | BatchRefusal> {
    const id = newPrefixedId("batch");
    const requests = given.map(newRequest);
    return this.#options.store.batches.create({ id, endpointId, requests }, this.#now());
  }

  add(batchId: string, given: readonly GivenRequest[]): Promise<BatchRow | BatchRefusal> {
    return this.#options.store.batches.add(batchId, given.map(newRequest));
  }

  async finalize(batchId: string): Promise<BatchRow | BatchRefusal> {
    const batch = await this.#options.store.batches.finalize(batchId, this.#now());
    if (typeof batch !== "string") this.#feed(batch.endpointId);
    return batch;
  }

  /** What waits is cancelled, what runs may finish. */
  async cancel(batchId: string): Promise<BatchRow | BatchRefusal> {
    const { store, jobs } = this.#options;
    const first = await store.batches.cancel(batchId, this.#now());
    if (typeof first === "string") return first;
    // Requests that were on their way to be jobs are jobs now: they are found the second time.
    await this.#feeds.get(first.batch.endpointId)?.run;
    const second = await store.batches.cancel(batchId, this.#now());
    if (typeof second === "string") return second;
    for (const id of second.waiting) {
      const job = await jobs.get(id);
      if (job?.state === "IN_QUEUE") await jobs.cancel(id);
    }
    return (await store.batches.get(batchId)) ?? second.batch;
  }

  #feed(endpointId: string): void {
    if (this.#isClosed) return;
    const feed = this.#feeds.get(endpointId);
    if (feed !== undefined) {
      feed.again = true;
      return;
    }
    const started: Feed = { again: false, run: Promise.resolve() };
    this.#feeds.set(endpointId, started);
    started.run = this.#feedAll(endpointId, started)
      .catch((error: unknown) => {
        this.#options.log.error("a batch could not go on yet", { error: String(error) });
        this.#options.clock.after(TRY_AGAIN_MS, () => this.#feed(endpointId));
      })
      .finally(() => {
        this.#feeds.delete(endpointId);
        if (started.again) this.#feed(endpointId);
      });
  }

  async #feedAll(endpointId: string, feed: Feed): Promise<void> {
    const { store, jobs, targetOf } = this.#options;
    do {
      feed.again = false;
      const target = targetOf(endpointId);
      if (target === undefined) return;
      const most = Math.max(LEAST_AHEAD, AHEAD * target.capacity);
      const next = await store.batches.next(endpointId, most);
      await Promise.all(
        next.map(({ id, batchId, input, key }) => {
          const own = key === null ? {} : { key };
          const extra = JSON.stringify({ batchId });
          const request = { input: undefined, inputText: input, extra, ...own };
          return jobs.submitAs(id, target, request);
        }),
      );
    } while (feed.again && !this.#isClosed);
  }

  #now(): number {
    return this.#options.clock.now();
  }
}

function newRequest({ input, key }: GivenRequest): NewBatchRequest {
  return { id: `${BATCH_REQUEST_PREFIX}${uuidv7()}`, input, key: readKey(key) };
}
