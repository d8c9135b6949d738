/**
 * The workers of one endpoint, over all of its versions. The scaler says how many there should be,
 * the pool starts, watches, drains and ends them, and hands load-balanced requests to them.
 *
 *   1  A worker's state moves only along WORKER_MOVES.
 *   2  A worker that is draining gets no more work, and is told to stop only when it has none.
 *   3  Whatever way a worker ends, `#gone` runs once: its secret is void and its jobs are requeued.
 *   4  A load-balanced worker of an earlier version serves until one of the active version is ready.
 */

import type { MemoryExcess, WorkerExit } from "../../contract/compute.ts";
import type { EventDocument } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";
import { WORKER_STATES, type WorkerState } from "../../contract/states.ts";
import type { EndpointRow } from "../../contract/store.ts";
import { newId, newSecret } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { EndpointMetrics } from "../metrics/endpoint-metrics.ts";
import { Failures } from "./failures.ts";
import { Guests } from "./guests.ts";
import { Holds, type Attempt } from "./holds.ts";
import { healthPath, live, type LifeEvents, type LifeHost, type WorkerEnd } from "./life.ts";
import { excessText } from "./memory.ts";
import { PoolWorker, type Version } from "./pool-worker.ts";
import { retryAfterS, roomAt, ServiceRate } from "./overload.ts";
import * as refusals from "./refusals.ts";
import { select, type Affinity } from "./select.ts";
import { requestsPerWorker } from "../../contract/options.ts";

/** What a pool needs from the rest of the server. */
export interface PoolHost extends LifeHost {
  /** Makes a secret valid for a worker, and void again. */
  admit(secret: string, worker: { workerId: string; endpoint: EndpointRow }): void;
  expel(secret: string): void;
  /** A line about a worker that the worker has not written. */
  onEvent(endpoint: EndpointRow, workerId: string, message: string): void;
  /** Something has happened to a worker. */
  emit(endpoint: EndpointRow, event: WorkerEvent): void;
  metricsOf(endpointId: string): EndpointMetrics;
  /** The endpoint's load or workers have changed. */
  wake(endpointId: string): void;
  jobs: {
    /** How many jobs the worker holds. */
    heldBy(workerId: string): Promise<number>;
    drainWorker(workerId: string): void;
    workerGone(
      workerId: string,
      exit: WorkerExit & { logTail: string[]; endedBecause?: string; excess?: MemoryExcess },
    ): Promise<void>;
  };
}

export type WorkerEvent = Pick<EventDocument, "kind" | "message" | "release" | "details"> & {
  worker: string;
};

/** A crash this soon after the start counts as a failed start, unless work was done. */
const YOUNG_MS = 10_000;
/** Wait of a request with strict affinity, ms. Source: spec/load-balancing.md A3. */
const STRICT_WAIT_MS = 5 * 60_000;
/** Patience with a worker whose connection broke, ms. */
const SUSPECT_MS = 1000;
/** How often a pool that closes looks whether its workers have finished their jobs, ms. */
const DRAIN_LOOK_MS = 50;
/** Scaled-down workers that `strict-resume` can bring back. */
const MAX_RETIRED = 100;

export class Pool {
  readonly row: EndpointRow;
  readonly holds: Holds;
  readonly metrics: EndpointMetrics;
  /** Workers that somebody else has started. */
  readonly guests: Guests;
  readonly #host: PoolHost;
  readonly #rate = new ServiceRate();
  readonly #log: Log;
  readonly #workers = new Map<string, PoolWorker>();
  readonly #failures = new Map<string, Failures>();
  /** Ids of workers that scaling has stopped, with their release. */
  readonly #retired = new Map<string, string>();
  /** One promise for each worker that has not ended. */
  readonly #lives = new Set<Promise<void>>();
  #active: Version;
  #isClosing = false;

  constructor(row: EndpointRow, active: Version, host: PoolHost) {
    this.row = row;
    this.#active = active;
    this.#host = host;
    this.#log = host.log.with({ endpoint: row.name, app: row.app, environment: row.environment });
    this.holds = new Holds(host.clock);
    this.metrics = host.metricsOf(row.id);
    this.guests = new Guests({
      clock: host.clock,
      onArrived: (id) => this.#log.info("worker called in", { worker: id }),
      onGone: (id) => this.#guestGone(id),
      onDraining: (id) => host.jobs.drainWorker(id),
    });
    this.#prepare();
  }

  get active(): Version {
    return this.#active;
  }

  get workers(): Iterable<PoolWorker> {
    return this.#workers.values();
  }

  get size(): number {
    return this.#workers.size + this.guests.size;
  }

  worker(id: string): PoolWorker | undefined {
    return this.#workers.get(id);
  }

  /** Why workers of the active version cannot start, once that is certain. */
  get problem(): string | undefined {
    return this.#failures.get(this.#active.releaseId)?.problem;
  }

  /** True while requests reach an earlier version because the active one is on its way. */
  get isRolling(): boolean {
    if (this.row.kind === "qb" || this.#isClosing || this.problem !== undefined) return false;
    const ready = [...this.#workers.values()].filter((worker) => worker.isReady);
    const isOff = this.#active.manifest.options.workersMax === 0;
    return ready.length > 0 && !isOff && ready.every((worker) => !worker.isCurrent);
  }

  counts(): Record<WorkerState, number> {
    const counts = noWorkers();
    for (const worker of this.#workers.values()) counts[worker.state] += 1;
    this.guests.addTo(counts);
    // Between two starts of a crash loop there is no process, but the worker is not well.
    if (this.problem !== undefined && counts.UNHEALTHY === 0) counts.UNHEALTHY = 1;
    return counts;
  }

  readyWorkers(): string[] {
    const own = [...this.#workers.values()].filter((worker) => worker.isReady);
    return [...own.map(({ id }) => id), ...this.guests.ready()];
  }

  /** Makes a version the active one. Workers of the others go as soon as they are not needed. */
  activate(version: Version): void {
    // A deployment starts with a clean slate, also one of the version that failed.
    this.#failures.clear();
    if (version.releaseId !== this.#active.releaseId) {
      this.#active = version;
      for (const worker of this.#workers.values()) {
        worker.isCurrent = worker.version.releaseId === version.releaseId && !worker.isStale;
      }
      this.#prepare();
    }
    this.#changed();
  }

  /**
   * Replaces every worker by one that is started now: their environment has changed. Load-balanced ones
   * serve until another one is ready; the others finish their jobs, and the queue waits for the new ones.
   */
  renew(reason: string): void {
    const up = this.#of(this.#active).filter((worker) => worker.isUp).length;
    for (const worker of this.#workers.values()) {
      worker.isStale = true;
      worker.isCurrent = false;
      if (this.row.kind === "qb") this.drain(worker, reason);
    }
    this.#failures.clear();
    // The scaler would not ask for anybody while nothing is to be done, and the old ones would stay.
    if (this.row.kind === "lb") this.#startMissing(up, this.#active);
    this.#changed();
  }

  /** The next cold start is on its way to be fast. */
  #prepare(): void {
    const { artifactDir, manifest } = this.#active;
    const { flashboot, workersMax } = manifest.options;
    if (flashboot && workersMax > 0 && manifest.bundle !== undefined) {
      this.#host.compute.prepare?.(artifactDir);
    }
  }

  /** A worker for a request, at once; undefined when it has to wait for one. Give it back. */
  tryAcquire(affinity: Affinity): PoolWorker | undefined {
    // Those who came earlier go first.
    if (this.holds.size > 0) return undefined;
    const attempt = this.#attempt(affinity);
    if (attempt.kind === "refused") throw attempt.error;
    if (attempt.kind === "wait") return undefined;
    // The least busy worker has more than its share: there should be more of them.
    if (attempt.value.load > requestsPerWorker(this.#active.manifest.options))
      this.#host.wake(this.row.id);
    return attempt.value;
  }

  /**
   * A worker for a request, held until there is one. Give it back. Throws `NO_WORKER`,
   * `WORKER_START_FAILED`, `OVERLOADED`, `NOT_FOUND` (affinity), or the signal's reason.
   */
  async acquire(affinity: Affinity, signal: AbortSignal): Promise<PoolWorker> {
    const isStrict = affinity.mode === "strict" || affinity.mode === "strict-resume";
    const waitMs = isStrict ? STRICT_WAIT_MS : LIMITS.lbWorkerWaitMs;
    if (!isStrict) this.#refuseExcess(1);
    const held = this.holds.wait({
      attempt: () => this.#attempt(affinity),
      takesAny: affinity.mode === "none" || affinity.mode === "soft",
      waitMs,
      timedOut: () =>
        isStrict
          ? refusals.affinityTimedOut(this.row.name, waitMs)
          : refusals.timedOut(this.row.name, waitMs),
      signal,
    });
    this.#host.wake(this.row.id);
    return await held;
  }

  /** The request is over. */
  giveBack(worker: PoolWorker): void {
    worker.give(this.#now());
    this.#provenGood(worker);
    if (worker.load === 0 && worker.state === "DRAINING") this.#finishDrain(worker);
    if (this.holds.size === 0) return;
    this.#rate.count();
    this.#changed();
    this.#refuseExcess(0);
    if (this.holds.size === 0) this.#rate.pause(this.#now());
  }

  /** A connection to it broke: no request goes there until it has been asked how it is, at once. */
  suspect(worker: PoolWorker): void {
    if (worker.link === undefined || !worker.move("UNHEALTHY")) return;
    worker.isSuspect = true;
    void worker.link.checkHealth(healthPath(worker.version), SUSPECT_MS).then((health) => {
      worker.isSuspect = false;
      // One that takes the connection but is too busy to answer is alive.
      if (health === "healthy" || health === "silent") this.#readyAgain(worker);
      else this.#changed();
    });
  }

  /** A queue worker has called in. */
  seen(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (worker?.state === "INITIALIZING") this.#becomeReady(worker);
  }

  /** A queue worker says that its machine is not fit, and is about to exit. */
  reportUnfit(workerId: string, reason: string): void {
    const worker = this.#workers.get(workerId);
    worker?.note({ stream: "stderr", text: reason, at: this.#host.clock.now() });
    this.#event(workerId, reason);
  }

  /** A queue worker has ended a job. */
  worked(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (worker === undefined) return;
    worker.touch(this.#now());
    this.#provenGood(worker);
  }

  /** How many jobs each queue worker holds, as the store says. */
  noteJobs(jobs: ReadonlyMap<string, number>): void {
    const now = this.#now();
    this.guests.noteJobs(jobs);
    for (const worker of this.#workers.values()) {
      worker.setLoad(jobs.get(worker.id) ?? 0, now);
      if (worker.state === "DRAINING" && worker.load === 0) this.#finishDrain(worker);
    }
  }

  /** Brings the workers to the targets. Called again whenever something has changed. */
  scale(targets: readonly { releaseId: string; target: number }[]): void {
    if (this.#isClosing) return;
    const wanted = new Map(targets.map(({ releaseId, target }) => [releaseId, target]));
    this.#startMissing(wanted.get(this.#active.releaseId) ?? 0, this.#active);
    this.#stopIdle(wanted.get(this.#active.releaseId) ?? 0);
    this.#stopEarlier(wanted);
  }

  /** Starts workers of an earlier version for the jobs that it accepted. */
  startEarlier(version: Version, target: number): void {
    if (!this.#isClosing) this.#startMissing(target, version);
  }

  /** Ends a worker at once, with everything it started. */
  kill(workerId: string, reason: string): void {
    const worker = this.#workers.get(workerId);
    if (worker === undefined) return;
    worker.endedBecause ??= reason;
    killNow(worker);
  }

  /** Lets a worker finish what it has, then ends it. */
  drain(worker: PoolWorker, reason: string): void {
    if (!worker.move("DRAINING")) return;
    worker.endedBecause = reason;
    if (this.row.kind === "qb") this.#host.jobs.drainWorker(worker.id);
    this.#finishDrain(worker);
    const patience = this.#host.clock.after(this.#longestWorkMs(worker), () => this.#stop(worker));
    worker.onGone(patience);
  }

  /** Drains every worker, and kills what is left after `graceMs`. Idempotent. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    this.guests.close();
    this.holds.refuseAll(() => refusals.beingStopped(this.row.name));
    for (const worker of this.#workers.values())
      this.drain(worker, "the endpoint is being stopped");
    const cancel = this.#host.clock.after(graceMs, () => {
      for (const worker of this.#workers.values()) killNow(worker);
    });
    const stopLooking = this.#lookAtDrains();
    await Promise.all(this.#lives);
    cancel();
    stopLooking();
  }

  /** The scaler, which notes how many jobs workers hold, has left this pool or has ended itself. */
  #lookAtDrains(): () => void {
    const look = (): void => {
      for (const worker of this.#workers.values()) this.#finishDrain(worker);
      cancel = this.#host.clock.after(DRAIN_LOOK_MS, look);
    };
    let cancel = this.#host.clock.after(DRAIN_LOOK_MS, look);
    return () => cancel();
  }

  #now(): number {
    return this.#host.clock.elapsed();
  }

  #changed(): void {
    this.holds.retry();
    this.#host.wake(this.row.id);
  }

  // Requests.

  #attempt(affinity: Affinity): Attempt<PoolWorker> {
    const { options } = this.#active.manifest;
    const bounds = { capacity: requestsPerWorker(options), limit: options.maxConcurrency };
    const selection = select(this.#workers.values(), affinity, bounds);
    if (selection.kind === "worker") {
      selection.worker.take();
      return { kind: "got", value: selection.worker };
    }
    if (selection.kind === "gone") {
      if (this.#resume(affinity)) return { kind: "wait" };
      return { kind: "refused", error: refusals.affinityGone(this.row.name) };
    }
    const error = this.#hopeless();
    return error === undefined ? { kind: "wait" } : { kind: "refused", error };
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
      refusals.overloaded(this.row.name, retryAfterS(excess, perMs));
    this.holds.shed(room, overloaded);
    if (more > 0 && this.holds.size + more > room) throw overloaded(this.holds.size + more - room);
  }

  /** Requests that run, when every worker that may be there is ready. */
  #runningAtMost(): number | undefined {
    let ready = 0;
    let running = 0;
    for (const worker of this.#workers.values()) {
      if (!worker.isReady) continue;
      ready += 1;
      running += worker.load;
    }
    return ready < this.#active.manifest.options.workersMax ? undefined : running;
  }

  /** Why waiting makes no sense. */
  #hopeless(): Error | undefined {
    const { name } = this.row;
    if (this.#isClosing) return refusals.beingStopped(name);
    if (this.#active.manifest.options.workersMax === 0) return refusals.switchedOff(name);
    const failures = this.#failures.get(this.#active.releaseId);
    if (failures?.problem === undefined || this.#isStarting(this.#active)) return undefined;
    const waitMs = failures.nextStartAt - this.#now();
    return waitMs <= 0 ? undefined : refusals.cannotStart(name, failures.problem, waitMs);
  }

  /** Starts a scaled-down worker again under its id. */
  #resume(affinity: Affinity): boolean {
    if (affinity.mode !== "strict-resume" || this.#isClosing) return false;
    if (this.#retired.get(affinity.workerId) !== this.#active.releaseId) return false;
    this.#retired.delete(affinity.workerId);
    this.#start(this.#active, affinity.workerId);
    return true;
  }

  // Scaling.

  #of(version: Version): PoolWorker[] {
    const all = [...this.#workers.values()];
    return all.filter(
      (worker) => worker.version.releaseId === version.releaseId && !worker.isStale,
    );
  }

  #isStarting(version: Version): boolean {
    return this.#of(version).some((worker) => worker.state === "INITIALIZING");
  }

  #startMissing(target: number, version: Version): void {
    if (version.manifest.form === "image" && !this.#host.compute.runsImages) return;
    const failures = this.#failures.get(version.releaseId);
    let missing = target - this.#of(version).filter((worker) => worker.isUp).length;
    if (failures !== undefined && failures.count > 0) {
      if (this.#now() < failures.nextStartAt) return;
      // One at a time until one has proven good.
      missing = this.#isStarting(version) ? 0 : Math.min(missing, 1);
    }
    for (; missing > 0; missing--) this.#start(version, newId());
  }

  #stopIdle(target: number): void {
    const { workersMin, workersMax, idleTimeoutS } = this.#active.manifest.options;
    const up = this.#of(this.#active).filter((worker) => worker.isUp);
    let surplus = up.length - Math.max(workersMin, target);
    const idle = up.filter((worker) => worker.state === "IDLE" && worker.load === 0);
    for (const worker of idle.sort((a, b) => a.idleSince - b.idleSince)) {
      if (surplus <= 0) return;
      const idleMs = this.#now() - worker.idleSince;
      if (workersMax > 0 && idleMs < idleTimeoutS * 1000) return;
      this.#retire(worker);
      this.drain(worker, "it was idle");
      surplus -= 1;
    }
    if (workersMax === 0) for (const worker of up) this.drain(worker, "the endpoint is off");
  }

  #stopEarlier(wanted: ReadonlyMap<string, number>): void {
    const earlier = [...this.#workers.values()].filter((worker) => !worker.isCurrent);
    if (this.row.kind === "lb") {
      const isCovered = this.#of(this.#active).some((worker) => worker.isReady);
      const idleMs = this.#active.manifest.options.idleTimeoutS * 1000;
      for (const worker of earlier) {
        const isIdle = worker.load === 0 && this.#now() - worker.idleSince >= idleMs;
        if (isCovered || isIdle) this.drain(worker, "a newer release serves");
      }
      return;
    }
    for (const worker of earlier) {
      const peers = earlier.filter(
        (other) => other.isUp && other.version.releaseId === worker.version.releaseId,
      );
      const isNeeded = peers.length <= (wanted.get(worker.version.releaseId) ?? 0);
      if (worker.load === 0 && !isNeeded) this.drain(worker, "a newer release serves");
    }
  }

  #retire(worker: PoolWorker): void {
    this.#retired.set(worker.id, worker.version.releaseId);
    const [oldest] = this.#retired.keys();
    if (this.#retired.size > MAX_RETIRED && oldest !== undefined) this.#retired.delete(oldest);
  }

  // The life of a worker.

  #start(version: Version, id: string): void {
    const now = this.#now();
    const worker = new PoolWorker({ id, version, secret: newSecret("flashw"), now });
    worker.isCurrent = version.releaseId === this.#active.releaseId;
    this.#workers.set(id, worker);
    this.#host.admit(worker.secret, { workerId: id, endpoint: this.row });
    this.metrics.workersStarted += 1;
    this.#tell(worker, "worker.started", "is being started");
    const life = this.#live(worker).catch((error: unknown) => {
      this.#log.error("a worker could not be followed", { worker: id, error: String(error) });
    });
    this.#lives.add(life);
    void life.finally(() => this.#lives.delete(life));
  }

  async #live(worker: PoolWorker): Promise<void> {
    const events: LifeEvents = {
      onStarted: () => {
        this.#log.debug("worker started", { worker: worker.id, pid: worker.running?.pid });
        // Often the first sign of a death: requests that come now would go to it.
        if (worker.link !== undefined) worker.link.onBreak = () => this.suspect(worker);
        // It may have been told to go while it was being started.
        if (worker.state === "DRAINING") this.#finishDrain(worker);
      },
      onReady: () => this.#becomeReady(worker),
      onUnhealthy: () => this.#becomeUnhealthy(worker),
      onHealthy: () => this.#recover(worker),
      onLeak: (_, reason) => {
        worker.isLeaking = true;
        this.#event(worker.id, `${reason}: it is replaced`);
        this.drain(worker, reason);
        this.#changed();
      },
      onOutOfMemory: (_, excess) => {
        worker.excess = excess;
        killNow(worker);
      },
      onHopeless: (_, reason) => this.#fail(worker, reason),
    };
    await this.#gone(worker, await live(worker, this.row, { host: this.#host, events }));
  }

  #becomeReady(worker: PoolWorker): void {
    if (worker.state !== "INITIALIZING" || !worker.move("IDLE")) return;
    worker.readyAt = this.#now();
    worker.idleSince = worker.readyAt;
    const afterMs = Math.round(worker.readyAt - worker.startedAt);
    this.metrics.startSeconds.observe((worker.readyAt - worker.startedAt) / 1000);
    this.#tell(worker, "worker.ready", `is ready after ${afterMs} ms`, { afterMs });
    this.#log.info("worker ready", { worker: worker.id, afterMs });
    this.#changed();
  }

  #becomeUnhealthy(worker: PoolWorker): void {
    if (!worker.move("UNHEALTHY")) return;
    this.#event(worker.id, "fails its health check: it gets no more requests");
    this.#tell(worker, "worker.unhealthy", "fails its health check: it gets no more requests");
    this.#changed();
  }

  #recover(worker: PoolWorker): void {
    if (worker.state !== "UNHEALTHY") return;
    this.#event(worker.id, "is healthy again");
    this.#tell(worker, "worker.healthy", "is healthy again");
    this.#readyAgain(worker);
  }

  #readyAgain(worker: PoolWorker): void {
    if (worker.state !== "UNHEALTHY" || !worker.move("IDLE")) return;
    if (worker.load > 0) worker.move("RUNNING");
    this.#changed();
  }

  #fail(worker: PoolWorker, reason: string): void {
    this.#failuresOf(worker.version).add(reason, this.#now());
    this.#event(worker.id, `ended: ${reason}`);
    this.kill(worker.id, reason);
  }

  #finishDrain(worker: PoolWorker): void {
    if (worker.running === undefined || worker.isStopping) return;
    if (this.row.kind === "lb") {
      if (worker.load === 0) this.#stop(worker);
      return;
    }
    // Asked again after the drain mark: a job may have been handed out just before it.
    void this.#host.jobs.heldBy(worker.id).then(
      (held) => {
        if (held === 0) this.#stop(worker);
      },
      (error: unknown) => this.#log.warn("jobs could not be read", { error: String(error) }),
    );
  }

  #stop(worker: PoolWorker): void {
    if (worker.isStopping || worker.running === undefined) return;
    worker.isStopping = true;
    void worker.running.stop(LIMITS.workerGraceMs);
  }

  /** How long a worker that drains may take for what it has, ms. */
  #longestWorkMs(worker: PoolWorker): number {
    const { executionTimeoutMs } = worker.version.manifest.options;
    if (executionTimeoutMs > 0) return executionTimeoutMs;
    return this.row.kind === "lb" ? LIMITS.lbProcessingMs : LIMITS.executionTimeoutDefaultMs;
  }

  /** The one end of every worker. */
  async #gone(worker: PoolWorker, { startError, ...exit }: WorkerEnd): Promise<void> {
    const endedBecause = worker.endFor(exit);
    const wasYoung =
      worker.readyAt === undefined ||
      (!worker.hasServed && this.#now() - worker.readyAt < YOUNG_MS);
    worker.gone();
    this.#workers.delete(worker.id);
    this.#host.expel(worker.secret);
    if (endedBecause === undefined) {
      const end = startError ?? endOf(worker, exit);
      const reason = startError ?? crashReason(worker, end);
      this.#event(worker.id, startError ?? `ended: ${end}`);
      if (wasYoung) this.#failuresOf(worker.version).add(reason, this.#now());
      this.metrics.workersCrashed += 1;
      this.#tell(worker, "worker.crashed", startError ?? `ended: ${end}`, { ...exit });
    } else this.#tell(worker, "worker.stopped", `was stopped: ${endedBecause}`);
    this.#log.info("worker gone", {
      worker: worker.id,
      end: endOf(worker, exit),
      ...(endedBecause === undefined ? {} : { because: endedBecause }),
    });
    if (this.row.kind === "qb") {
      const logTail = worker.lastWords().split("\n");
      const { excess } = worker;
      await this.#host.jobs.workerGone(worker.id, {
        ...exit,
        logTail,
        ...(endedBecause === undefined ? {} : { endedBecause }),
        ...(excess === undefined ? {} : { excess }),
      });
    }
    this.#changed();
    this.#wakeAfterBackoff(worker.version);
  }

  #wakeAfterBackoff(version: Version): void {
    const failures = this.#failures.get(version.releaseId);
    if (failures === undefined || failures.count === 0) return;
    const waitMs = Math.max(0, failures.nextStartAt - this.#now());
    this.#host.clock.after(waitMs + 1, () => this.#host.wake(this.row.id));
  }

  /** A worker that has done something, or has lived for a while, ends a crash loop. */
  #provenGood(worker: PoolWorker): void {
    const failures = this.#failures.get(worker.version.releaseId);
    if (failures !== undefined && failures.count > 0) failures.clear();
  }

  #failuresOf(version: Version): Failures {
    let failures = this.#failures.get(version.releaseId);
    if (failures === undefined) {
      failures = new Failures();
      this.#failures.set(version.releaseId, failures);
    }
    return failures;
  }

  #tell(
    { id, version }: PoolWorker,
    kind: WorkerEvent["kind"],
    what: string,
    details?: Record<string, unknown>,
  ): void {
    const { name } = this.row;
    this.#host.emit(this.row, {
      kind,
      worker: id,
      release: version.releaseId,
      message: `worker ${id} of '${name}' ${what}`,
      ...(details === undefined ? {} : { details }),
    });
  }

  #event(workerId: string, message: string): void {
    this.#host.onEvent(this.row, workerId, message);
  }

  #guestGone(workerId: string): void {
    this.#log.info("worker is silent", { worker: workerId });
    const isGone = this.#host.jobs
      .workerGone(workerId, { code: null, signal: null, logTail: [] })
      .catch((error: unknown) =>
        this.#log.warn("jobs could not be moved", { error: String(error) }),
      )
      .finally(() => this.#lives.delete(isGone));
    this.#lives.add(isGone);
    this.#changed();
  }
}

/** No worker in any state. */
export function noWorkers(): Record<WorkerState, number> {
  const counts = WORKER_STATES.map((state) => [state, 0]);
  return Object.fromEntries(counts) as Record<WorkerState, number>;
}

/** One that is still being started drains instead, once it runs. */
function killNow(worker: PoolWorker): void {
  if (worker.running === undefined) return;
  worker.isStopping = true;
  worker.running.kill();
}

function crashReason(worker: PoolWorker, end: string): string {
  const words = worker.lastWords().trim();
  return words === "" || worker.excess !== undefined ? `it ended: ${end}` : words;
}

function endOf({ excess }: PoolWorker, exit: WorkerExit): string {
  if (excess !== undefined) return `it ${excessText(excess)}`;
  if (exit.signal !== null) return `signal ${exit.signal}`;
  return exit.code === null ? "no exit code" : `exit code ${exit.code}`;
}
