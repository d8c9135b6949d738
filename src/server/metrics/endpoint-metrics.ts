/** What is counted and timed about one endpoint, as it happens. Times in seconds. */

import type { Job } from "../../contract/job.ts";
import { Histogram } from "../../kit/histogram.ts";

/** From what is answered from memory to what a person still waits for. */
const ANSWER_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
];
/** Jobs may take hours. */
const JOB_SECONDS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600,
];
const START_SECONDS = [
  0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 420,
];
const HOP_SECONDS = [0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1];

/** How requests end, as labels have it. */
export const REQUEST_OUTCOMES = ["left", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;
export const JOB_OUTCOMES = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] as const;
export type JobOutcome = (typeof JOB_OUTCOMES)[number];

/** Of this many requests over a link one is timed on both sides. */
const SAMPLE_EVERY = 64;

export class EndpointMetrics {
  /** By {@link REQUEST_OUTCOMES}. */
  readonly requests = new Float64Array(REQUEST_OUTCOMES.length);
  /** From the request to the end of its answer. */
  readonly requestSeconds = new Histogram(ANSWER_SECONDS);
  /** What the way to the worker and back adds to the worker's own time. Sampled. */
  readonly hopSeconds = new Histogram(HOP_SECONDS);
  readonly jobs: Record<JobOutcome, number> = {
    COMPLETED: 0,
    FAILED: 0,
    CANCELLED: 0,
    TIMED_OUT: 0,
  };
  /** From the time a job was due to the start of its last attempt. */
  readonly queueSeconds = new Histogram(JOB_SECONDS);
  /** Of the last attempt. */
  readonly executionSeconds = new Histogram(JOB_SECONDS);
  /** From a worker's start to the moment it can take work. */
  readonly startSeconds = new Histogram(START_SECONDS);
  workersStarted = 0;
  workersCrashed = 0;
  #untilSample = 1;

  /** `status` 0: the client left before it had an answer. `startedAt`: monotonic, ms. */
  requested(status: number, startedAt: number): void {
    const outcome = Math.min(5, Math.max(0, Math.floor(status / 100)));
    this.requests[outcome] = (this.requests[outcome] ?? 0) + 1;
    this.requestSeconds.observe((performance.now() - startedAt) / 1000);
  }

  settled({ state, runAt, startedAt, finishedAt }: Job): void {
    this.jobs[state as JobOutcome] += 1;
    if (startedAt === null) return;
    this.queueSeconds.observe(Math.max(0, startedAt - runAt) / 1000);
    if (finishedAt !== null) {
      this.executionSeconds.observe(Math.max(0, finishedAt - startedAt) / 1000);
    }
  }

  /** Whether this request is one of those that are timed on both sides. */
  isSampled(): boolean {
    this.#untilSample -= 1;
    if (this.#untilSample > 0) return false;
    this.#untilSample = SAMPLE_EVERY;
    return true;
  }
}
