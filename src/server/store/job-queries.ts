/** Questions about many jobs: pages, counts, and what the scaler and the timers have to know. */

import type { Job, JobCounts } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { FailedFilter, JobStore, TakenJob } from "../../contract/store.ts";
import type { JobReader, Statements } from "./job-statements.ts";
import type { Committer } from "./commit.ts";
import type { KeyedQueue } from "./keyed-queue.ts";
import { COUNTER_OF, COUNTERS, type LaneCounters, type Lanes } from "./lanes.ts";
import type { RecentJobs } from "./recent-jobs.ts";

export type QueueSums = Awaited<ReturnType<JobStore["queue"]>>[number];

interface Counters extends LaneCounters {
  id: number;
  release_id: string;
}

export interface JobQueriesOptions {
  sql: Statements;
  read: JobReader;
  lanes: Lanes;
  keyed: KeyedQueue;
  recent: RecentJobs;
  committer: Committer;
}

const NO_JOBS = { waiting: 0, lowPriority: 0, running: 0 };

export class JobQueries {
  readonly #sql: Statements;
  readonly #read: JobReader;
  readonly #lanes: Lanes;
  readonly #keyed: KeyedQueue;
  readonly #recent: RecentJobs;
  readonly #committer: Committer;

  constructor(options: JobQueriesOptions) {
    this.#sql = options.sql;
    this.#read = options.read;
    this.#lanes = options.lanes;
    this.#keyed = options.keyed;
    this.#recent = options.recent;
    this.#committer = options.committer;
  }

  async list({
    endpointId,
    states,
    kept = false,
    offset,
    limit,
  }: Parameters<JobStore["list"]>[0]): Promise<{ jobs: Job[]; total: number }> {
    this.#committer.settleRecent();
    const rows = this.#sql.list.all({
      endpointId,
      states: states === undefined ? null : JSON.stringify(states),
      kept: kept ? 1 : 0,
      offset,
      limit,
    });
    const counted = states ?? (Object.keys(COUNTER_OF) as JobState[]);
    const lanes = this.#counters(endpointId);
    const total = sum(counted.flatMap((state) => lanes.map((lane) => lane[COUNTER_OF[state]])));
    return { jobs: this.#read.all(rows), total: total - this.#hidden(endpointId, counted, kept) };
  }

  /** Of the records that the counters count, those that nobody has asked for. */
  #hidden(endpointId: string, states: readonly JobState[], kept: boolean): number {
    if (kept) return 0;
    const request = { endpointId, states: JSON.stringify(states) };
    return Number(this.#sql.countHidden.get(request)?.["jobs"]);
  }

  async failed(
    request: Parameters<JobStore["failed"]>[0],
  ): Promise<{ jobs: Job[]; total: number }> {
    this.#committer.settleRecent();
    const filter = failedFilter(request);
    const { offset, limit } = request;
    const rows = this.#sql.failed.all({ ...filter, offset, limit });
    return {
      jobs: this.#read.all(rows),
      total: Number(this.#sql.countFailed.get(filter)?.["jobs"]),
    };
  }

  async counts(endpointId: string): Promise<JobCounts> {
    const lanes = this.#counters(endpointId);
    return {
      completed: sum(lanes.map(({ completed }) => completed)),
      failed: sum(lanes.map(({ failed }) => failed)),
      inProgress: sum(lanes.map(({ running }) => running)),
      inQueue: sum(lanes.map(({ waiting }) => waiting)),
      retried: sum(lanes.map(({ retried }) => retried)),
    };
  }

  async queue(endpointId: string, now: number): Promise<QueueSums[]> {
    const releases = new Map<string, QueueSums>();
    for (const lane of this.#counters(endpointId)) {
      if (lane.waiting === 0 && lane.running === 0) continue;
      const { release_id: releaseId } = lane;
      const sums = releases.get(releaseId) ?? { ...NO_JOBS, releaseId, oldestAt: now };
      sums.running += lane.running;
      const due = this.#due(lane, now);
      if (this.#lanes.get(lane.id).lowPriority) sums.lowPriority += due.jobs;
      else if (due.jobs > 0) {
        sums.waiting += due.jobs;
        sums.oldestAt = Math.min(sums.oldestAt, due.oldestAt);
      }
      releases.set(releaseId, sums);
    }
    return [...releases.values()];
  }

  /** Jobs that may start now. */
  #due({ id, waiting }: Counters, now: number): { jobs: number; oldestAt: number } {
    if (waiting === 0) return { jobs: 0, oldestAt: now };
    const lane = this.#lanes.get(id);
    if (lane.isKeyed) return this.#keyed.startable(lane, now);
    const recentAt = this.#recent.first([lane])?.runAt ?? now;
    if (lane.waiting === 0) return { jobs: waiting, oldestAt: recentAt };
    // Delayed jobs are few beside a long queue, so they are counted and the due ones are the rest.
    const jobs = waiting - Number(this.#sql.delayed.get(id, now)?.["jobs"]);
    if (jobs === 0) return { jobs, oldestAt: now };
    const storedAt = Number(this.#sql.first.get(id)?.["run_at"]);
    return { jobs, oldestAt: Math.min(storedAt, recentAt) };
  }

  async busyEndpoints(): Promise<string[]> {
    this.#committer.settleRecent();
    return this.#sql.busy.all().map((row) => String(row["endpoint_id"]));
  }

  async latestAt(): Promise<number | undefined> {
    this.#committer.settleRecent();
    const { newest, lastDropped, lastStarted, lastQueued } = this.#sql;
    const lanes = this.#sql.waitingLanes.all().map(({ id }) => lastQueued.get(Number(id)));
    const times = [newest.get(), lastDropped.get(), lastStarted.get(), ...lanes]
      .map((row) => Number(row?.["at"] ?? 0))
      .filter((at) => at > 0);
    return times.length === 0 ? undefined : times.reduce((a, b) => Math.max(a, b));
  }

  async nextRunAt(now: number): Promise<number | undefined> {
    const times = this.#sql.waitingLanes
      .all()
      .map((lane) => this.#sql.nextRunAt.get(Number(lane["id"]), now)?.["run_at"])
      .filter((time) => time !== undefined)
      .map(Number);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async running(
    filter: { workerId?: string; endpointId?: string; expiredAt?: number } = {},
  ): Promise<TakenJob[]> {
    const { workerId, endpointId, expiredAt } = filter;
    const rows =
      workerId === undefined ? this.#sql.running.all() : this.#sql.runningOf.all(workerId);
    const recent = this.#recent
      .running()
      .filter((job) => workerId === undefined || job.workerId === workerId);
    return [...this.#read.all(rows), ...recent]
      .filter((job) => endpointId === undefined || job.endpointId === endpointId)
      .filter((job) => expiredAt === undefined || isOver(job, expiredAt)) as TakenJob[];
  }

  #counters(endpointId: string): Counters[] {
    const lanes = this.#sql.counters.all(endpointId) as unknown as Counters[];
    for (const lane of lanes) addTo(lane, this.#recent.counters(lane.id));
    return lanes;
  }
}

function addTo(counters: LaneCounters, more: LaneCounters | undefined): void {
  if (more !== undefined) for (const name of COUNTERS) counters[name] += more[name];
}

/** A filter as the statements take it. */
export function failedFilter({
  endpointId,
  states,
  kinds,
  key,
  kept = false,
}: FailedFilter & { endpointId: string }): Record<string, string | number | null> {
  return {
    endpointId,
    states: states === undefined ? null : JSON.stringify(states),
    kinds: kinds === undefined ? null : JSON.stringify(kinds),
    key: key ?? null,
    kept: kept ? 1 : 0,
  };
}

function isOver(job: Job, at: number): boolean {
  const hasLapsed = job.leaseUntil !== null && job.leaseUntil <= at;
  return hasLapsed || (job.startedAt ?? at) + job.policy.executionTimeoutMs <= at;
}

function sum(values: readonly (number | string)[]): number {
  return values.reduce((total: number, value) => total + Number(value), 0);
}
