/**
 * Requests of a load-balanced endpoint: each gets a worker at once, waits for one in the order of
 * arrival, or is told why waiting makes no sense.
 */

import { LIMITS } from "../../contract/limits.ts";
import { requestsPerWorker } from "../../contract/options.ts";
import type { Clock } from "../../kit/clock.ts";
import type { FailuresByVersion } from "./failures.ts";
import { Holds, type Attempt } from "./holds.ts";
import { retryAfterS, roomAt, ServiceRate } from "./overload.ts";
import type { PoolWorker } from "./pool-worker.ts";
import * as refusals from "./refusals.ts";
import type { Roster } from "./roster.ts";
import { select, type Affinity } from "./select.ts";

/** Wait of a request with strict affinity, ms. Source: spec/load-balancing.md A3. */
const STRICT_WAIT_MS = 5 * 60_000;

export interface RequestsOptions {
  /** Name of the endpoint. */
  name: string;
  clock: Clock;
  roster: Roster;
  failures: FailuresByVersion;
  /** Starts a worker of the active version that is to have this id. */
  start: (workerId: string) => void;
  /** There may have to be more workers, or fewer. */
  wake: () => void;
}

export class Requests {
  /** Those that wait. */
  readonly holds: Holds;
  readonly #options: RequestsOptions;
  readonly #rate = new ServiceRate();

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.holds = new Holds(options.clock);
  }

  /** A worker for a request, at once; undefined when it has to wait for one. */
  tryAcquire(affinity: Affinity): PoolWorker | undefined {
    // Those who came earlier go first.
    if (this.holds.size > 0) return undefined;
    const attempt = this.#attempt(affinity);
    if (attempt.kind === "refused") throw attempt.error;
    if (attempt.kind === "wait") return undefined;
    const { roster, wake } = this.#options;
    // The least busy worker has more than its share: there should be more of them.
    if (attempt.value.load > requestsPerWorker(roster.active.manifest.options)) wake();
    return attempt.value;
  }

  /** A worker for a request, held until there is one. Throws as `Pool.acquire` does. */
  async acquire(affinity: Affinity, signal: AbortSignal): Promise<PoolWorker> {
    const { name, wake } = this.#options;
    const isStrict = affinity.mode === "strict" || affinity.mode === "strict-resume";
    const waitMs = isStrict ? STRICT_WAIT_MS : LIMITS.lbWorkerWaitMs;
    if (!isStrict) this.#refuseExcess(1);
    const held = this.holds.wait({
      attempt: () => this.#attempt(affinity),
      takesAny: affinity.mode === "none" || affinity.mode === "soft",
      waitMs,
      timedOut: () =>
        isStrict ? refusals.affinityTimedOut(name, waitMs) : refusals.timedOut(name, waitMs),
      signal,
    });
    wake();
    return await held;
  }

  /** A request is over, and its worker has room again. */
  ended(): void {
    if (this.holds.size === 0) return;
    this.#rate.count();
    this.changed();
    this.#refuseExcess(0);
    if (this.holds.size === 0) this.#rate.pause(this.#now());
  }

  /** The workers are not what they were: those who wait try again. */
  changed(): void {
    this.holds.retry();
    this.#options.wake();
  }

  /** Sends everybody away who waits. */
  close(): void {
    this.holds.refuseAll(() => refusals.beingStopped(this.#options.name));
  }

  #attempt(affinity: Affinity): Attempt<PoolWorker> {
    const { name, roster } = this.#options;
    const { options } = roster.active.manifest;
    const bounds = { capacity: requestsPerWorker(options), limit: options.maxConcurrency };
    const selection = select(roster.workers, affinity, bounds);
    if (selection.kind === "worker") {
      selection.worker.take();
      return { kind: "got", value: selection.worker };
    }
    if (selection.kind === "gone") {
      if (this.#resume(affinity)) return { kind: "wait" };
      return { kind: "refused", error: refusals.affinityGone(name) };
    }
    const error = this.#hopeless();
    return error === undefined ? { kind: "wait" } : { kind: "refused", error };
  }

  /** Starts a scaled-down worker again under its id. */
  #resume(affinity: Affinity): boolean {
    const { roster, start } = this.#options;
    if (affinity.mode !== "strict-resume" || !roster.recall(affinity.workerId)) return false;
    start(affinity.workerId);
    return true;
  }

  /**
   * Refuses those who would wait too long, the last ones first. Throws `OVERLOADED` when there is no room
   * for `more` besides. While workers are still to come nobody knows how long it will take.
   */
  #refuseExcess(more: number): void {
    const now = this.#now();
    // Whoever waited before has gone some other way.
    if (this.holds.size === 0) this.#rate.pause(now);
    const running = this.#runningAtMost();
    if (running === undefined) {
      this.#rate.pause(now);
      return;
    }
    if (this.holds.size === 0) return;
    const perMs = this.#rate.perMs(now, running);
    const room = roomAt(perMs);
    const overloaded = (excess: number) =>
      refusals.overloaded(this.#options.name, retryAfterS(excess, perMs));
    this.holds.shed(room, overloaded);
    if (more > 0 && this.holds.size + more > room) throw overloaded(this.holds.size + more - room);
  }

  /** Requests that run, when every worker that may be there is ready. */
  #runningAtMost(): number | undefined {
    const { roster } = this.#options;
    let ready = 0;
    let running = 0;
    for (const worker of roster.workers) {
      if (!worker.isReady) continue;
      ready += 1;
      running += worker.load;
    }
    return ready < roster.active.manifest.options.workersMax ? undefined : running;
  }

  /** Why waiting makes no sense. */
  #hopeless(): Error | undefined {
    const { name, roster, failures } = this.#options;
    const { active } = roster;
    if (roster.isClosed) return refusals.beingStopped(name);
    if (active.manifest.options.workersMax === 0) return refusals.switchedOff(name);
    const { problem, nextStartAt } = failures.of(active);
    if (problem === undefined || roster.isStarting(active)) return undefined;
    const waitMs = nextStartAt - this.#now();
    return waitMs <= 0 ? undefined : refusals.cannotStart(name, problem, waitMs);
  }

  #now(): number {
    return this.#options.clock.elapsed();
  }
}
