/**
 * The lives of an endpoint's workers: each is started, watched, drained and ended here.
 *
 *   1  A worker's state moves only along WORKER_MOVES.
 *   2  A worker that is draining gets no more work, and is told to stop only when it has none.
 *   3  Whatever way a worker ends, `#gone` runs once: its secret is void and its jobs are requeued.
 */

import type { WorkerExit } from "../../contract/compute.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { EndpointRow } from "../../contract/store.ts";
import { newSecret } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { FailuresByVersion } from "./failures.ts";
import type { PoolHost } from "./host.ts";
import { healthPath, live, type LifeEvents, type WorkerEnd } from "./life.ts";
import { PoolWorker, type Version } from "./pool-worker.ts";
import type { Roster } from "./roster.ts";
import { crashReason, type WorkerNews } from "./worker-news.ts";

/** A crash this soon after the start counts as a failed start, unless work was done. */
const YOUNG_MS = 10_000;
/** Patience with a worker whose connection broke, ms. */
const SUSPECT_MS = 1000;
/** How often an endpoint that closes looks whether its workers have finished their jobs, ms. */
const DRAIN_LOOK_MS = 50;

export interface LivesOptions {
  row: EndpointRow;
  host: PoolHost;
  log: Log;
  roster: Roster;
  failures: FailuresByVersion;
  news: WorkerNews;
  /** A worker may take requests that it could not take before, or the other way round. */
  onChanged: () => void;
}

export class Lives {
  readonly #options: LivesOptions;
  /** One promise for each worker that has not ended. */
  readonly #lives = new Set<Promise<void>>();

  constructor(options: LivesOptions) {
    this.#options = options;
  }

  start(version: Version, id: string): void {
    const { row, host, log, roster, news } = this.#options;
    const worker = new PoolWorker({ id, version, secret: newSecret("flashw"), now: this.#now() });
    roster.join(worker);
    host.admit(worker.secret, { workerId: id, endpoint: row });
    news.started(worker);
    const life = this.#live(worker).catch((error: unknown) => {
      log.error("a worker could not be followed", { worker: id, error: String(error) });
    });
    this.#lives.add(life);
    void life.finally(() => this.#lives.delete(life));
  }

  /** A queue worker has called in. */
  calledIn(worker: PoolWorker): void {
    if (worker.state === "INITIALIZING") this.#becomeReady(worker);
  }

  /** A queue worker has ended a job. */
  worked(worker: PoolWorker): void {
    worker.touch(this.#now());
    this.#provenGood(worker);
  }

  /** A load-balanced worker has ended a request. */
  served(worker: PoolWorker): void {
    worker.give(this.#now());
    this.#provenGood(worker);
    this.#lookAtDrain(worker);
  }

  /** How many jobs a queue worker holds, as the store says. */
  holds(worker: PoolWorker, jobs: number): void {
    worker.setLoad(jobs, this.#now());
    this.#lookAtDrain(worker);
  }

  /** A connection to it broke: no request goes there until it has been asked how it is, at once. */
  suspect(worker: PoolWorker): void {
    if (worker.link === undefined || !worker.move("UNHEALTHY")) return;
    worker.isSuspect = true;
    void worker.link.checkHealth(healthPath(worker.version), SUSPECT_MS).then((health) => {
      worker.isSuspect = false;
      // One that takes the connection but is too busy to answer is alive.
      if (health === "healthy" || health === "silent") this.#readyAgain(worker);
      else this.#options.onChanged();
    });
  }

  /** Lets a worker finish what it has, then ends it. */
  drain(worker: PoolWorker, reason: string): void {
    const { row, host } = this.#options;
    if (!worker.move("DRAINING")) return;
    worker.endedBecause = reason;
    if (row.kind === "qb") host.jobs.drainWorker(worker.id);
    this.#finishDrain(worker);
    const patience = host.clock.after(this.#longestWorkMs(worker), () => stop(worker));
    worker.onGone(patience);
  }

  /** Ends a worker at once, with everything it started. */
  kill(worker: PoolWorker, reason: string): void {
    worker.endedBecause ??= reason;
    killNow(worker);
  }

  /** Drains every worker, and kills what is left after `graceMs`. Resolves when the last one has ended. */
  async end(graceMs: number): Promise<void> {
    const { host, roster } = this.#options;
    for (const worker of roster.workers) this.drain(worker, "the endpoint is being stopped");
    const cancel = host.clock.after(graceMs, () => {
      for (const worker of roster.workers) killNow(worker);
    });
    const stopLooking = this.#lookAtDrains();
    await Promise.all(this.#lives);
    cancel();
    stopLooking();
  }

  /** The scaler, which notes how many jobs workers hold, has left this endpoint or has ended itself. */
  #lookAtDrains(): () => void {
    const { host, roster } = this.#options;
    const look = (): void => {
      for (const worker of roster.workers) this.#finishDrain(worker);
      cancel = host.clock.after(DRAIN_LOOK_MS, look);
    };
    let cancel = host.clock.after(DRAIN_LOOK_MS, look);
    return () => cancel();
  }

  async #live(worker: PoolWorker): Promise<void> {
    const { row, host, news } = this.#options;
    const events: LifeEvents = {
      onStarted: () => {
        news.runs(worker);
        // Often the first sign of a death: requests that come now would go to it.
        if (worker.link !== undefined) worker.link.onBreak = () => this.suspect(worker);
        // It may have been told to go while it was being started.
        if (worker.state === "DRAINING") this.#finishDrain(worker);
      },
      onReady: () => this.#becomeReady(worker),
      onUnhealthy: () => this.#becomeUnhealthy(worker),
      onHealthy: () => this.#recover(worker),
      onLeak: (_, reason) => this.#replace(worker, reason),
      onOutOfMemory: (_, excess) => {
        worker.excess = excess;
        killNow(worker);
      },
      onHopeless: (_, reason) => this.#giveUp(worker, reason),
    };
    await this.#gone(worker, await live(worker, row, { host, events }));
  }

  #becomeReady(worker: PoolWorker): void {
    if (worker.state !== "INITIALIZING" || !worker.move("IDLE")) return;
    worker.readyAt = this.#now();
    worker.idleSince = worker.readyAt;
    this.#options.news.ready(worker, worker.readyAt - worker.startedAt);
    this.#options.onChanged();
  }

  #becomeUnhealthy(worker: PoolWorker): void {
    if (!worker.move("UNHEALTHY")) return;
    this.#options.news.unhealthy(worker);
    this.#options.onChanged();
  }

  #recover(worker: PoolWorker): void {
    if (worker.state !== "UNHEALTHY") return;
    this.#options.news.healthy(worker);
    this.#readyAgain(worker);
  }

  #readyAgain(worker: PoolWorker): void {
    if (worker.state !== "UNHEALTHY" || !worker.move("IDLE")) return;
    if (worker.load > 0) worker.move("RUNNING");
    this.#options.onChanged();
  }

  #replace(worker: PoolWorker, reason: string): void {
    worker.isLeaking = true;
    this.#options.news.replaced(worker, reason);
    this.drain(worker, reason);
    this.#options.onChanged();
  }

  #giveUp(worker: PoolWorker, reason: string): void {
    this.#options.failures.of(worker.version).add(reason, this.#now());
    this.#options.news.givenUp(worker, reason);
    this.kill(worker, reason);
  }

  #lookAtDrain(worker: PoolWorker): void {
    if (worker.load === 0 && worker.state === "DRAINING") this.#finishDrain(worker);
  }

  #finishDrain(worker: PoolWorker): void {
    const { row, host, log } = this.#options;
    if (worker.running === undefined || worker.isStopping) return;
    if (row.kind === "lb") {
      if (worker.load === 0) stop(worker);
      return;
    }
    // Asked again after the drain mark: a job may have been handed out just before it.
    void host.jobs.heldBy(worker.id).then(
      (held) => {
        if (held === 0) stop(worker);
      },
      (error: unknown) => log.warn("jobs could not be read", { error: String(error) }),
    );
  }

  /** How long a worker that drains may take for what it has, ms. */
  #longestWorkMs({ version }: PoolWorker): number {
    const { executionTimeoutMs } = version.manifest.options;
    if (executionTimeoutMs > 0) return executionTimeoutMs;
    const isQueue = this.#options.row.kind === "qb";
    return isQueue ? LIMITS.executionTimeoutDefaultMs : LIMITS.lbProcessingMs;
  }

  /** The one end of every worker. */
  async #gone(worker: PoolWorker, end: WorkerEnd): Promise<void> {
    const { row, host, roster, failures, news, onChanged } = this.#options;
    const { startError: _, ...exit } = end;
    const endedBecause = worker.endFor(exit);
    const wasYoung = this.#isYoung(worker);
    worker.gone();
    roster.leave(worker);
    host.expel(worker.secret);
    if (endedBecause === undefined) {
      if (wasYoung) failures.of(worker.version).add(crashReason(worker, end), this.#now());
      news.crashed(worker, end);
    } else news.stopped(worker, exit, endedBecause);
    if (row.kind === "qb") await this.#returnJobs(worker, exit, endedBecause);
    onChanged();
    this.#wakeAfterBackoff(worker.version);
  }

  #isYoung({ readyAt, hasServed }: PoolWorker): boolean {
    return readyAt === undefined || (!hasServed && this.#now() - readyAt < YOUNG_MS);
  }

  async #returnJobs(
    worker: PoolWorker,
    exit: WorkerExit,
    endedBecause: string | undefined,
  ): Promise<void> {
    const { excess } = worker;
    await this.#options.host.jobs.workerGone(worker.id, {
      ...exit,
      logTail: worker.lastWords().split("\n"),
      ...(endedBecause === undefined ? {} : { endedBecause }),
      ...(excess === undefined ? {} : { excess }),
    });
  }

  #wakeAfterBackoff(version: Version): void {
    const { row, host, failures } = this.#options;
    const { count, nextStartAt } = failures.of(version);
    if (count === 0) return;
    const waitMs = Math.max(0, nextStartAt - this.#now());
    host.clock.after(waitMs + 1, () => host.wake(row.id));
  }

  /** A worker that has done something, or has lived for a while, ends a crash loop. */
  #provenGood({ version }: PoolWorker): void {
    const failures = this.#options.failures.of(version);
    if (failures.count > 0) failures.clear();
  }

  #now(): number {
    return this.#options.host.clock.elapsed();
  }
}

function stop(worker: PoolWorker): void {
  if (worker.isStopping || worker.running === undefined) return;
  worker.isStopping = true;
  void worker.running.stop(LIMITS.workerGraceMs);
}

/** One that is still being started drains instead, once it runs. */
function killNow(worker: PoolWorker): void {
  if (worker.running === undefined) return;
  worker.isStopping = true;
  worker.running.kill();
}
