/**
 * The loop around `decide`: looks at an endpoint whenever something has happened to it and once a
 * second while it has workers or work, and hands the targets to its pool. Endpoints without either
 * cost nothing. Every change of a target is kept with its inputs.
 *
 *   decide   how many workers an endpoint should have: pure
 */

import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { VersionView } from "../../contract/control.ts";
import type { EndpointRow, Store } from "../../contract/store.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { decide, type ScaleView, type Target } from "./decide.ts";

const TICK_MS = 1000;
/** Between two looks at one endpoint, ms: under load something happens to it all the time. */
const PAUSE_MS = 20;
/** Decisions kept for each endpoint. */
const MAX_DECISIONS = 50;

/** A decision that changed a target, with all that led to it. */
export interface Decision {
  /** ISO 8601. */
  time: string;
  view: ScaleView;
  targets: Target[];
}

interface Watched {
  /** A look is under way; `again`: something has happened since; `soon`: when the pause is over. */
  looking: "no" | "yes" | "again" | "soon";
  /** When the last look at its queue began; monotonic, ms. */
  lookedAt: number;
  lastStepAt: number | undefined;
  targets: string;
  decisions: Decision[];
}

export interface ScalerOptions {
  store: Store;
  fleet: Fleet;
  clock: Clock;
  log: Log;
  /** A target has changed. */
  onDecision?: (endpoint: EndpointRow, decision: Decision) => void;
}

export class Scaler {
  readonly #options: ScalerOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #due = new Set<string>();
  readonly #looks = new Set<Promise<void>>();
  #isPlanned = false;
  /** Before the start there is no address that a worker could call: nothing is scaled. */
  #state: "new" | "running" | "closed" = "new";
  #cancelTick: (() => void) | undefined;

  constructor(options: ScalerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#state = "running";
    this.#planTick();
    for (const { row } of this.#options.fleet.pools) this.wake(row.id);
  }

  /** Look at this endpoint soon. Cheap: calls within one turn of the event loop are one look. */
  wake(endpointId: string): void {
    if (this.#state !== "running") return;
    this.#due.add(endpointId);
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      const due = [...this.#due];
      this.#due.clear();
      for (const id of due) this.#look(id);
    });
  }

  /** The newest decisions, oldest first. */
  decisions(endpointId: string): readonly Decision[] {
    return this.#watched.get(endpointId)?.decisions ?? [];
  }

  async close(): Promise<void> {
    this.#state = "closed";
    this.#cancelTick?.();
    await Promise.all(this.#looks);
  }

  #planTick(): void {
    this.#cancelTick = this.#options.clock.after(TICK_MS, () => {
      const tick = this.#tick().finally(() => {
        this.#looks.delete(tick);
        if (this.#state === "running") this.#planTick();
      });
      this.#looks.add(tick);
    });
  }

  async #tick(): Promise<void> {
    const { fleet, store, log } = this.#options;
    for (const pool of fleet.pools) {
      const isKept = pool.active.manifest.options.workersMin > 0;
      if (pool.size > 0 || pool.holds.size > 0 || isKept) this.wake(pool.row.id);
    }
    for (const id of this.#watched.keys()) {
      if (fleet.pool(id) === undefined) this.#watched.delete(id);
    }
    try {
      for (const id of await store.jobs.busyEndpoints()) this.wake(id);
    } catch (error) {
      log.warn("the queues could not be read", { error: String(error) });
    }
  }

  #look(endpointId: string): void {
    const pool = this.#options.fleet.pool(endpointId);
    if (pool === undefined || this.#state !== "running") return;
    const watched = this.#watch(endpointId);
    // Somebody waits for a worker, and knowing that takes no look at the store.
    const isUrgent = pool.holds.size > 0;
    if (watched.looking !== "no" && !isUrgent) {
      if (watched.looking === "yes") watched.looking = "again";
      return;
    }
    const { clock } = this.#options;
    const now = clock.elapsed();
    const pauseMs = watched.lookedAt + PAUSE_MS - now;
    if (pauseMs > 0 && !isUrgent) {
      watched.looking = "soon";
      clock.after(pauseMs, () => {
        watched.looking = "no";
        this.#look(endpointId);
      });
      return;
    }
    watched.lookedAt = now;
    if (pool.row.kind === "lb") {
      this.#carryOut(pool, watched, requestView(pool, watched.lastStepAt));
      return;
    }
    watched.looking = "yes";
    const look = this.#lookAtQueue(pool, watched).finally(() => {
      this.#looks.delete(look);
      const again = watched.looking === "again";
      watched.looking = "no";
      if (again) this.wake(endpointId);
    });
    this.#looks.add(look);
  }

  async #lookAtQueue(pool: Pool, watched: Watched): Promise<void> {
    const { store, clock, fleet, log } = this.#options;
    try {
      const now = clock.now();
      const [queue, running] = await Promise.all([
        store.jobs.queue(pool.row.id, now),
        pool.size === 0 ? [] : store.jobs.running({ endpointId: pool.row.id }),
      ]);
      const held = new Map<string, number>();
      for (const { workerId } of running) held.set(workerId, (held.get(workerId) ?? 0) + 1);
      pool.noteJobs(held);
      const view = queueView({ pool, queue, now, lastStepAt: watched.lastStepAt });
      const targets = this.#carryOut(pool, watched, view);
      for (const { releaseId, target } of targets) {
        if (target === 0 || releaseId === pool.active.releaseId) continue;
        const version = await fleet.versionOf(pool.row.id, releaseId);
        if (version !== undefined) pool.startEarlier(version, target);
      }
    } catch (error) {
      log.warn("an endpoint could not be scaled", {
        endpoint: pool.row.name,
        error: String(error),
      });
    }
  }

  #carryOut(pool: Pool, watched: Watched, view: ScaleView): Target[] {
    const { clock, onDecision } = this.#options;
    const now = clock.elapsed();
    const targets = decide(view, pool.active.manifest.options, now);
    if (targets.some(({ isStep }) => isStep)) watched.lastStepAt = now;
    const summary = targets.map(({ releaseId, target }) => `${releaseId}=${target}`).join(" ");
    if (summary !== watched.targets) {
      // That an endpoint nobody has asked for has no workers is no news.
      const isNews = watched.targets !== "" || targets.some(({ target }) => target > 0);
      watched.targets = summary;
      const decision = { time: new Date(clock.now()).toISOString(), view, targets };
      watched.decisions.push(decision);
      if (isNews) onDecision?.(pool.row, decision);
      if (watched.decisions.length > MAX_DECISIONS) watched.decisions.shift();
    }
    pool.scale(targets);
    return targets;
  }

  #watch(endpointId: string): Watched {
    let watched = this.#watched.get(endpointId);
    if (watched === undefined) {
      watched = {
        looking: "no",
        lookedAt: Number.NEGATIVE_INFINITY,
        lastStepAt: undefined,
        targets: "",
        decisions: [],
      };
      this.#watched.set(endpointId, watched);
    }
    return watched;
  }
}

/** A load-balanced endpoint: requests belong to no version until a worker has them. */
function requestView(pool: Pool, lastStepAt: number | undefined): ScaleView {
  const versions = workersByVersion(pool);
  const active = versions.get(pool.active.releaseId);
  if (active !== undefined) {
    active.waiting = pool.holds.size;
    active.oldestWaitMs = pool.holds.oldestMs();
    for (const { load } of pool.workers) active.running += load;
  }
  return { kind: "lb", versions: [...versions.values()], lastStepAt };
}

function queueView(facts: {
  pool: Pool;
  queue: Awaited<ReturnType<Store["jobs"]["queue"]>>;
  now: number;
  lastStepAt: number | undefined;
}): ScaleView {
  const { pool, queue, now, lastStepAt } = facts;
  const versions = workersByVersion(pool);
  for (const { releaseId, waiting, oldestAt, running } of queue) {
    const view = versions.get(releaseId) ?? emptyView(releaseId, false);
    versions.set(releaseId, view);
    view.waiting = waiting;
    view.running = running;
    view.oldestWaitMs = waiting === 0 ? 0 : Math.max(0, now - oldestAt);
  }
  return { kind: "qb", versions: [...versions.values()], lastStepAt };
}

/** The active version first, then every other that has workers. */
function workersByVersion(pool: Pool): Map<string, VersionView> {
  const active = pool.active.releaseId;
  const versions = new Map([[active, emptyView(active, true)]]);
  for (const worker of pool.workers) {
    const { releaseId } = worker.version;
    const view = versions.get(releaseId) ?? emptyView(releaseId, false);
    versions.set(releaseId, view);
    if (worker.isUp) view.workers += 1;
    if (worker.isReady) view.ready += 1;
  }
  return versions;
}

function emptyView(releaseId: string, isActive: boolean): VersionView {
  return { releaseId, isActive, waiting: 0, oldestWaitMs: 0, running: 0, workers: 0, ready: 0 };
}
