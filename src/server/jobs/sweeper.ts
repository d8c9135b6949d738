/** What the passing of time does to jobs: ttl, retention and delayed starts, in small steps. */

import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Job } from "../../contract/job.ts";
import type { KeepFailed, Store } from "../../contract/store.ts";

/** Looks this often, whatever timers are set: the wall clock may jump under them. */
const PERIOD_MS = 1000;
/** Rows in one step, so that a sweep over many never holds up a request. */
const STEP = 500;

export interface SweeperOptions {
  store: Store;
  clock: Clock;
  log: Log;
  keepFailed: KeepFailed;
  onExpired: (job: Job) => void;
  onDue: (due: DueJobs) => void;
}

/** Jobs of one endpoint and release that may start, some of them only since now. */
export interface DueJobs {
  endpointId: string;
  releaseId: string;
  jobs: number;
}

export class Sweeper {
  readonly #options: SweeperOptions;
  #isClosed = false;
  #sweeping: Promise<void> | undefined;
  #cancelPeriod: (() => void) | undefined;
  #cancelWake: (() => void) | undefined;
  /** The next delayed start, epoch ms. */
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#look();
    await this.sweep();
    this.#tick();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelPeriod?.();
    this.#cancelWake?.();
    await this.#sweeping;
  }

  /** A job has been queued that starts at `runAt`. */
  wakeAt(runAt: number): void {
    if (this.#isClosed || runAt >= this.#wakeAt) return;
    this.#wakeAt = runAt;
    this.#cancelWake?.();
    const waitMs = runAt - this.#options.clock.now();
    this.#cancelWake = this.#options.clock.after(waitMs, () => void this.sweep());
  }

  /** One sweep at a time; a call during one waits for it. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
      .catch((error: unknown) => this.#options.log.error("sweep failed", { error: String(error) }))
      .finally(() => (this.#sweeping = undefined));
    return this.#sweeping;
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.#cancelPeriod = this.#options.clock.after(PERIOD_MS, () => {
      void this.sweep().then(() => this.#tick());
    });
  }

  async #sweep(): Promise<void> {
    const { store, onExpired, keepFailed } = this.#options;
    if (this.#wakeAt <= this.#now()) await this.#startDue();
    for (let found = STEP; found === STEP && !this.#isClosed;) {
      const expired = await store.jobs.expire(this.#now(), STEP);
      for (const job of expired) onExpired(job);
      found = expired.length;
    }
    for (let found = STEP; found === STEP && !this.#isClosed;) {
      found = await store.jobs.drop(this.#now(), STEP, keepFailed);
    }
  }

  async #startDue(): Promise<void> {
    const { store, onDue } = this.#options;
    await this.#look();
    for (const endpointId of await store.jobs.busyEndpoints()) {
      for (const due of await store.jobs.queue(endpointId, this.#now())) {
        const jobs = due.waiting + due.lowPriority;
        if (jobs > 0) onDue({ endpointId, releaseId: due.releaseId, jobs });
      }
    }
  }

  async #look(): Promise<void> {
    this.#wakeAt = Number.POSITIVE_INFINITY;
    const next = await this.#options.store.jobs.nextRunAt(this.#now());
    if (next !== undefined) this.wakeAt(next);
  }

  #now(): number {
    return this.#options.clock.now();
  }
}
