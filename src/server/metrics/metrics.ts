/**
 * `GET /metrics`: what the server does, for Prometheus. What happens is counted where it happens, in
 * plain numbers; what is (depths, states, sizes) is looked at when somebody asks. Labels are the app,
 * environment and endpoint of what is deployed, and closed lists of words: never a job, a worker or
 * anything else that comes and goes.
 *
 *   endpoint-metrics   counters and times of one endpoint
 *   exposition         the text format
 */

import { readdirSync } from "node:fs";
import { performance as eventLoop } from "node:perf_hooks";
import { isFinal, WORKER_STATES } from "../../contract/states.ts";
import type { Job } from "../../contract/job.ts";
import type { EndpointRow, Store } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Histogram } from "../../kit/histogram.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { EndpointMetrics, JOB_OUTCOMES, REQUEST_OUTCOMES } from "./endpoint-metrics.ts";
import { Family, type Labels, type MetricType } from "./exposition.ts";

export interface MetricsOptions {
  store: Store;
  clock: Clock;
  version: string;
  fleet: () => Fleet;
  /** Standby processes that are ready; undefined where there are none. */
  standbys: () => number | undefined;
  /** Undefined while nobody keeps traces. */
  spans: () => { exported: number; dropped: number } | undefined;
}

/** An endpoint as it is when somebody asks. */
interface Seen {
  pool: Pool;
  own: EndpointMetrics;
  labels: Labels;
  waiting: number;
  running: number;
  retried: number;
  oldestWaitSeconds: number;
}

export class Metrics {
  readonly #options: MetricsOptions;
  readonly #startedAt: number;
  readonly #endpoints = new Map<string, EndpointMetrics>();

  constructor(options: MetricsOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
  }

  /** What is counted about an endpoint. */
  of(endpointId: string): EndpointMetrics {
    let own = this.#endpoints.get(endpointId);
    if (own === undefined) {
      own = new EndpointMetrics();
      this.#endpoints.set(endpointId, own);
    }
    return own;
  }

  settled(job: Job): void {
    if (isFinal(job.state)) this.of(job.endpointId).settled(job);
  }

  /** All metrics, of the endpoints that `sees` admits. */
  async text(sees: (row: EndpointRow) => boolean): Promise<string> {
    const fleet = this.#options.fleet();
    for (const id of this.#endpoints.keys()) {
      if (fleet.pool(id) === undefined) this.#endpoints.delete(id);
    }
    const pools = [...fleet.pools].filter(({ row }) => sees(row));
    const seen = await Promise.all(pools.map((pool) => this.#look(pool)));
    const families = [
      ...queueFamilies(seen),
      ...requestFamilies(seen),
      ...workerFamilies(seen),
      ...this.#serverFamilies(),
    ];
    return families.map(({ text }) => text).join("");
  }

  async #look(pool: Pool): Promise<Seen> {
    const { store, clock } = this.#options;
    const { id, app, environment, name: endpoint, kind } = pool.row;
    const labels = { app, environment, endpoint };
    const base = { pool, own: this.of(id), labels };
    if (kind === "lb") {
      let running = 0;
      for (const { load } of pool.workers) running += load;
      const { holds } = pool;
      const oldestWaitSeconds = holds.oldestMs() / 1000;
      return { ...base, waiting: holds.size, running, retried: 0, oldestWaitSeconds };
    }
    const now = clock.now();
    const counts = await store.jobs.counts(id);
    const lanes = counts.inQueue === 0 ? [] : await store.jobs.queue(id, now);
    const waits = lanes.filter(({ waiting }) => waiting > 0).map(({ oldestAt }) => now - oldestAt);
    return {
      ...base,
      waiting: counts.inQueue,
      running: counts.inProgress,
      retried: counts.retried,
      oldestWaitSeconds: Math.max(0, ...waits) / 1000,
    };
  }

  #serverFamilies(): Family[] {
    const { version, store, standbys } = this.#options;
    const { measures } = store;
    const ready = standbys();
    const spans = this.#options.spans();
    return [
      new Family("flash_build_info", "gauge", "Version of the server.").add(1, { version }),
      ...(ready === undefined
        ? []
        : [gauge("flash_standbys", "Booted processes that wait to become a worker.").add(ready)]),
      ...(measures === undefined
        ? []
        : [
            gauge("flash_store_pending_operations", "Operations not yet acknowledged.").add(
              measures.pending,
            ),
            new Family(
              "flash_store_group_operations",
              "histogram",
              "Operations that shared one transaction.",
            ).addHistogram(measures.groupSizes),
            new Family(
              "flash_store_commit_seconds",
              "histogram",
              "From the beginning of a transaction to its being on the disk.",
            ).addHistogram(measures.commitSeconds),
          ]),
      ...(spans === undefined
        ? []
        : [
            counter("flash_trace_spans_total", "Spans by what became of them.")
              .add(spans.exported, { outcome: "exported" })
              .add(spans.dropped, { outcome: "dropped" }),
          ]),
      ...processFamilies(this.#startedAt),
    ];
  }
}

function queueFamilies(seen: readonly Seen[]): Family[] {
  const queues = seen.filter(({ pool }) => pool.row.kind === "qb");
  const outcomes = counter("flash_jobs_total", "Jobs by how they ended.");
  for (const { own, labels } of queues) {
    for (const outcome of JOB_OUTCOMES) outcomes.add(own.jobs[outcome], { ...labels, outcome });
  }
  return [
    each(queues, gauge("flash_queue_jobs_waiting", "Jobs in the queue."), (one) => one.waiting),
    each(queues, gauge("flash_queue_jobs_running", "Jobs that run."), (one) => one.running),
    each(
      queues,
      gauge("flash_queue_oldest_wait_seconds", "How long the oldest due job has waited."),
      (one) => one.oldestWaitSeconds,
    ),
    outcomes,
    each(
      queues,
      counter("flash_job_retries_total", "Attempts that another one followed."),
      (one) => one.retried,
    ),
    times(
      queues,
      ["flash_job_queue_seconds", "From the time a job was due to the start of its last attempt."],
      (own) => own.queueSeconds,
    ),
    times(
      queues,
      ["flash_job_execution_seconds", "How long the last attempt of a job ran."],
      (own) => own.executionSeconds,
    ),
  ];
}

function requestFamilies(seen: readonly Seen[]): Family[] {
  const balanced = seen.filter(({ pool }) => pool.row.kind === "lb");
  const outcomes = counter("flash_requests_total", "Requests by the class of their answer.");
  for (const { own, labels } of balanced) {
    for (const [index, outcome] of REQUEST_OUTCOMES.entries()) {
      outcomes.add(own.requests[index] ?? 0, { ...labels, outcome });
    }
  }
  return [
    outcomes,
    each(
      balanced,
      gauge("flash_requests_held", "Requests that wait for a worker."),
      (one) => one.waiting,
    ),
    each(
      balanced,
      gauge("flash_requests_running", "Requests that a worker has."),
      (one) => one.running,
    ),
    times(
      balanced,
      ["flash_request_seconds", "From a request to the end of its answer."],
      (own) => own.requestSeconds,
    ),
    times(
      balanced,
      ["flash_request_hop_seconds", "What the hop adds to the worker's own time; sampled."],
      (own) => own.hopSeconds,
    ),
  ];
}

function workerFamilies(seen: readonly Seen[]): Family[] {
  const states = gauge("flash_workers", "Workers by state.");
  for (const { pool, labels } of seen) {
    const counts = pool.counts();
    for (const state of WORKER_STATES) {
      // One that has stopped is none.
      if (state !== "STOPPED") states.add(counts[state], { ...labels, state });
    }
  }
  return [
    states,
    each(
      seen,
      counter("flash_worker_starts_total", "Workers started."),
      (one) => one.own.workersStarted,
    ),
    each(
      seen,
      counter("flash_worker_crashes_total", "Workers that ended by themselves."),
      (one) => one.own.workersCrashed,
    ),
    times(
      seen,
      ["flash_worker_start_seconds", "Cold start: from a worker's start until it can take work."],
      (own) => own.startSeconds,
    ),
  ];
}

function processFamilies(startedAt: number): Family[] {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const { utilization } = eventLoop.eventLoopUtilization();
  const files = openFiles();
  return [
    counter("process_cpu_seconds_total", "Processor time of the server process.").add(
      (user + system) / 1e6,
    ),
    gauge("process_resident_memory_bytes", "Memory of the server process.").add(rss),
    gauge("process_start_time_seconds", "When the server started, Unix time.").add(
      startedAt / 1000,
    ),
    gauge("nodejs_heap_size_used_bytes", "JavaScript heap in use.").add(heapUsed),
    gauge("nodejs_eventloop_utilization", "Busy part of the event loop since the start.").add(
      utilization,
    ),
    ...(files === undefined
      ? []
      : [gauge("process_open_fds", "Open files and sockets.").add(files)]),
  ];
}

/** Undefined where the operating system does not tell. */
function openFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}

function counter(name: string, help: string): Family {
  return new Family(name, "counter", help);
}

function gauge(name: string, help: string): Family {
  return new Family(name, "gauge" satisfies MetricType, help);
}

function each(seen: readonly Seen[], family: Family, value: (one: Seen) => number): Family {
  for (const one of seen) family.add(value(one), one.labels);
  return family;
}

/** Endpoints that nothing has happened to have no lines: a histogram has many. */
function times(
  seen: readonly Seen[],
  [name, help]: readonly [name: string, help: string],
  of: (own: EndpointMetrics) => Histogram,
): Family {
  const family = new Family(name, "histogram", help);
  for (const { own, labels } of seen) {
    const histogram = of(own);
    if (histogram.counts.some((count) => count > 0)) family.addHistogram(histogram, labels);
  }
  return family;
}
