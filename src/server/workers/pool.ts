/**
 * The workers of one endpoint, over all of its versions. The scaler says how many there should be;
 * the pool has them started and ended, and hands load-balanced requests to them.
 *
 *   roster       who they are, and which version is active
 *   lives        each from its start to its end
 *   turnover     which are to start and which to go: pure
 *   requests     which one gets a request, who waits, who is refused
 *   guests       workers that somebody else has started
 *   failures     starts that failed
 *   worker-news  what is told of them
 *   host         the server as a pool sees it
 *
 * A load-balanced worker of an earlier version serves until one of the active version is ready.
 */

import type { WorkerState } from "../../contract/states.ts";
import type { EndpointRow } from "../../contract/store.ts";
import { newId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { EndpointMetrics } from "../metrics/endpoint-metrics.ts";
import { FailuresByVersion } from "./failures.ts";
import { Guests } from "./guests.ts";
import type { Holds } from "./holds.ts";
import type { PoolHost } from "./host.ts";
import { Lives } from "./lives.ts";
import type { PoolWorker, Version } from "./pool-worker.ts";
import { Requests } from "./requests.ts";
import { Roster } from "./roster.ts";
import type { Affinity } from "./select.ts";
import { idleTooLong, missing, superseded, unwanted } from "./turnover.ts";
import { WorkerNews } from "./worker-news.ts";

export class Pool {
  readonly row: EndpointRow;
  readonly metrics: EndpointMetrics;
  /** Workers that somebody else has started. */
  readonly guests: Guests;
  readonly #host: PoolHost;
  readonly #log: Log;
  readonly #roster: Roster;
  readonly #failures = new FailuresByVersion();
  readonly #news: WorkerNews;
  readonly #lives: Lives;
  readonly #requests: Requests;
  /** One promise for each guest that has gone and whose jobs are not yet back. */
  readonly #returning = new Set<Promise<void>>();

  constructor(row: EndpointRow, active: Version, host: PoolHost) {
    const log = host.log.with({ endpoint: row.name, app: row.app, environment: row.environment });
    this.row = row;
    this.#host = host;
    this.#log = log;
    this.metrics = host.metricsOf(row.id);
    const roster = new Roster(active);
    const failures = this.#failures;
    const news = new WorkerNews(row, { host, metrics: this.metrics, log });
    const onChanged = (): void => this.#requests.changed();
    this.#roster = roster;
    this.#news = news;
    this.#lives = new Lives({ row, host, log, roster, failures, news, onChanged });
    this.#requests = new Requests({
      name: row.name,
      clock: host.clock,
      roster,
      failures,
      start: (workerId) => this.#lives.start(roster.active, workerId),
      wake: () => host.wake(row.id),
    });
    this.guests = new Guests({
      clock: host.clock,
      onArrived: (id) => log.info("worker called in", { worker: id }),
      onGone: (id) => this.#guestGone(id),
      onDraining: (id) => host.jobs.drainWorker(id),
    });
    this.#prepare();
  }

  get active(): Version {
    return this.#roster.active;
  }

  get workers(): Iterable<PoolWorker> {
    return this.#roster.workers;
  }

  /** Requests that wait for a worker. */
  get holds(): Holds {
    return this.#requests.holds;
  }

  get size(): number {
    return this.#roster.size + this.guests.size;
  }

  worker(id: string): PoolWorker | undefined {
    return this.#roster.worker(id);
  }

  /** Why workers of the active version cannot start, once that is certain. */
  get problem(): string | undefined {
    return this.#failures.of(this.active).problem;
  }

  /** True while requests reach an earlier version because the active one is on its way. */
  get isRolling(): boolean {
    if (this.row.kind === "qb" || this.#roster.isClosed || this.problem !== undefined) return false;
    const ready = this.#roster.ready();
    const isOff = this.active.manifest.options.workersMax === 0;
    return ready.length > 0 && !isOff && ready.every((worker) => !worker.isCurrent);
  }

  counts(): Record<WorkerState, number> {
    const counts = this.#roster.counts();
    this.guests.addTo(counts);
    // Between two starts of a crash loop there is no process, but the worker is not well.
    if (this.problem !== undefined && counts.UNHEALTHY === 0) counts.UNHEALTHY = 1;
    return counts;
  }

  readyWorkers(): string[] {
    return [...this.#roster.ready().map(({ id }) => id), ...this.guests.ready()];
  }

  // Versions.

  /** Makes a version the active one. Workers of the others go as soon as they are not needed. */
  activate(version: Version): void {
    // A deployment starts with a clean slate, also one of the version that failed.
    this.#failures.clear();
    if (version.releaseId !== this.active.releaseId) {
      this.#roster.activate(version);
      this.#prepare();
    }
    this.#requests.changed();
  }

  /**
   * Replaces every worker by one that is started now: their environment has changed. Load-balanced ones
   * serve until another one is ready; the others finish their jobs, and the queue waits for the new ones.
   */
  renew(reason: string): void {
    const up = this.#roster.of(this.active).filter((worker) => worker.isUp).length;
    this.#roster.outdate();
    if (this.row.kind === "qb") this.#drainAll(this.workers, reason);
    this.#failures.clear();
    // The scaler would not ask for anybody while nothing is to be done, and the old ones would stay.
    if (this.row.kind === "lb") this.#startMissing(up, this.active);
    this.#requests.changed();
  }

  /** The next cold start is on its way to be fast. */
  #prepare(): void {
    const { artifactDir, manifest } = this.active;
    const { flashboot, workersMax } = manifest.options;
    if (flashboot && workersMax > 0 && manifest.bundle !== undefined) {
      this.#host.compute.prepare?.(artifactDir);
    }
  }

  // Requests.

  /** A worker for a request, at once; undefined when it has to wait for one. Give it back. */
  tryAcquire(affinity: Affinity): PoolWorker | undefined {
    return this.#requests.tryAcquire(affinity);
  }

  /**
   * A worker for a request, held until there is one. Give it back. Throws `NO_WORKER`,
   * `WORKER_START_FAILED`, `OVERLOADED`, `NOT_FOUND` (affinity), or the signal's reason.
   */
  acquire(affinity: Affinity, signal: AbortSignal): Promise<PoolWorker> {
    return this.#requests.acquire(affinity, signal);
  }

  /** The request is over. */
  giveBack(worker: PoolWorker): void {
    this.#lives.served(worker);
    this.#requests.ended();
  }

  /** A connection to it broke: no request goes there until it has been asked how it is, at once. */
  suspect(worker: PoolWorker): void {
    this.#lives.suspect(worker);
  }

  // What queue workers and the store say.

  /** A queue worker has called in. */
  seen(workerId: string): void {
    const worker = this.worker(workerId);
    if (worker !== undefined) this.#lives.calledIn(worker);
  }

  /** A queue worker says that its machine is not fit, and is about to exit. */
  reportUnfit(workerId: string, reason: string): void {
    this.worker(workerId)?.note({ stream: "stderr", text: reason, at: this.#host.clock.now() });
    this.#news.unfit(workerId, reason);
  }

  /** A queue worker has ended a job. */
  worked(workerId: string): void {
    const worker = this.worker(workerId);
    if (worker !== undefined) this.#lives.worked(worker);
  }

  /** How many jobs each queue worker holds, as the store says. */
  noteJobs(jobs: ReadonlyMap<string, number>): void {
    this.guests.noteJobs(jobs);
    for (const worker of this.workers) this.#lives.holds(worker, jobs.get(worker.id) ?? 0);
  }

  // Scaling.

  /** Brings the workers to the targets. Called again whenever something has changed. */
  scale(targets: readonly { releaseId: string; target: number }[]): void {
    if (this.#roster.isClosed) return;
    const wanted = new Map(targets.map(({ releaseId, target }) => [releaseId, target]));
    const target = wanted.get(this.active.releaseId) ?? 0;
    this.#startMissing(target, this.active);
    this.#stopIdle(target);
    this.#drainAll(this.#outdated(wanted), "a newer release serves");
  }

  /** Starts workers of an earlier version for the jobs that it accepted. */
  startEarlier(version: Version, target: number): void {
    if (!this.#roster.isClosed) this.#startMissing(target, version);
  }

  /** Ends a worker at once, with everything it started. */
  kill(workerId: string, reason: string): void {
    const worker = this.worker(workerId);
    if (worker !== undefined) this.#lives.kill(worker, reason);
  }

  /** Lets a worker finish what it has, then ends it. */
  drain(worker: PoolWorker, reason: string): void {
    this.#lives.drain(worker, reason);
  }

  /** Drains every worker, and kills what is left after `graceMs`. Idempotent. */
  async close(graceMs: number): Promise<void> {
    this.#roster.close();
    this.guests.close();
    this.#requests.close();
    await Promise.all([this.#lives.end(graceMs), ...this.#returning]);
  }

  #startMissing(target: number, version: Version): void {
    if (version.manifest.form === "image" && !this.#host.compute.runsImages) return;
    const failures = this.#failures.of(version);
    const count = missing(this.#roster.of(version), target, { failures, now: this.#now() });
    for (let started = 0; started < count; started++) this.#lives.start(version, newId());
  }

  #stopIdle(target: number): void {
    const { options } = this.active.manifest;
    const members = this.#roster.of(this.active);
    for (const worker of idleTooLong(members, target, { options, now: this.#now() })) {
      this.#roster.retire(worker);
      this.drain(worker, "it was idle");
    }
    if (options.workersMax > 0) return;
    const up = members.filter((worker) => worker.isUp);
    this.#drainAll(up, "the endpoint is off");
  }

  #outdated(wanted: ReadonlyMap<string, number>): PoolWorker[] {
    const earlier = this.#roster.earlier();
    if (this.row.kind === "qb") return unwanted(earlier, wanted);
    return superseded(earlier, {
      isCovered: this.#roster.of(this.active).some((worker) => worker.isReady),
      idleMs: this.active.manifest.options.idleTimeoutS * 1000,
      now: this.#now(),
    });
  }

  #drainAll(workers: Iterable<PoolWorker>, reason: string): void {
    for (const worker of workers) this.drain(worker, reason);
  }

  #guestGone(workerId: string): void {
    this.#log.info("worker is silent", { worker: workerId });
    const returned = this.#host.jobs
      .workerGone(workerId, { code: null, signal: null, logTail: [] })
      .catch((error: unknown) =>
        this.#log.warn("jobs could not be moved", { error: String(error) }),
      )
      .finally(() => this.#returning.delete(returned));
    this.#returning.add(returned);
    this.#requests.changed();
  }

  #now(): number {
    return this.#host.clock.elapsed();
  }
}
