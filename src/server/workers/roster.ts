/** Who the workers of one endpoint are, over all of its versions, and which version is the active one. */

import { WORKER_STATES, type WorkerState } from "../../contract/states.ts";
import type { PoolWorker, Version } from "./pool-worker.ts";

/** Scaled-down workers that `strict-resume` can bring back. */
const MAX_RETIRED = 100;

export class Roster {
  readonly #workers = new Map<string, PoolWorker>();
  /** Ids of workers that scaling has stopped, with their release. */
  readonly #retired = new Map<string, string>();
  #active: Version;
  #isClosed = false;

  constructor(active: Version) {
    this.#active = active;
  }

  get active(): Version {
    return this.#active;
  }

  /** Nobody joins any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get workers(): Iterable<PoolWorker> {
    return this.#workers.values();
  }

  get size(): number {
    return this.#workers.size;
  }

  worker(id: string): PoolWorker | undefined {
    return this.#workers.get(id);
  }

  join(worker: PoolWorker): void {
    worker.isCurrent = worker.version.releaseId === this.#active.releaseId;
    this.#workers.set(worker.id, worker);
  }

  leave(worker: PoolWorker): void {
    this.#workers.delete(worker.id);
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Those who run a version in the environment that it has now. */
  of({ releaseId }: Version): PoolWorker[] {
    const all = [...this.#workers.values()];
    return all.filter((worker) => worker.version.releaseId === releaseId && !worker.isStale);
  }

  ready(): PoolWorker[] {
    return [...this.#workers.values()].filter((worker) => worker.isReady);
  }

  /** Those of other versions than the active one, or of its former environment. */
  earlier(): PoolWorker[] {
    return [...this.#workers.values()].filter((worker) => !worker.isCurrent);
  }

  isStarting(version: Version): boolean {
    return this.of(version).some((worker) => worker.state === "INITIALIZING");
  }

  counts(): Record<WorkerState, number> {
    const counts = noWorkers();
    for (const worker of this.#workers.values()) counts[worker.state] += 1;
    return counts;
  }

  activate(version: Version): void {
    this.#active = version;
    for (const worker of this.#workers.values()) {
      worker.isCurrent = worker.version.releaseId === version.releaseId && !worker.isStale;
    }
  }

  /** The environment of every worker is no longer what a new one would get. */
  outdate(): void {
    for (const worker of this.#workers.values()) {
      worker.isStale = true;
      worker.isCurrent = false;
    }
  }

  /** Scaling ends the worker: its id may come back while its version is the active one. */
  retire(worker: PoolWorker): void {
    this.#retired.set(worker.id, worker.version.releaseId);
    const [oldest] = this.#retired.keys();
    if (this.#retired.size > MAX_RETIRED && oldest !== undefined) this.#retired.delete(oldest);
  }

  /** True when a worker of that id may be started again; it is asked once. */
  recall(workerId: string): boolean {
    if (this.#isClosed || this.#retired.get(workerId) !== this.#active.releaseId) return false;
    return this.#retired.delete(workerId);
  }
}

/** No worker in any state. */
export function noWorkers(): Record<WorkerState, number> {
  const counts = WORKER_STATES.map((state) => [state, 0]);
  return Object.fromEntries(counts) as Record<WorkerState, number>;
}
