/** Jobs of queue endpoints, over a store and a clock. */

import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Job, JobDocument } from "../../contract/job.ts";
import type { Store, TakenJob } from "../../contract/store.ts";

/** What a client asks for. Durations are ms, times epoch ms. */
export interface JobRequest {
  input: unknown;
  /** JSON text of the input; wins over `input` and keeps numbers exactly as they were written. */
  inputText?: string;
  webhook?: string;
  policy?: { executionTimeout?: number; ttl?: number; lowPriority?: boolean };
  /** Further top-level keys for the worker, such as `s3Config`. */
  extra?: Record<string, unknown>;
  idempotencyKey?: string;
  runAt?: number;
}

/** Where a job goes; `executionTimeoutMs` and `retries` come from the endpoint's manifest. */
export interface JobTarget {
  endpointId: string;
  releaseId: string;
  /** 0 means the platform's default. */
  executionTimeoutMs: number;
  retries: number;
}

/** How failures of an endpoint's jobs are treated. `isCode`: the endpoint runs a function of the user's. */
export interface RetryRules {
  retries: number;
  isCode: boolean;
}

export interface JobsOptions {
  store: Store;
  clock: Clock;
  log: Log;
  /** Undefined when the release or the endpoint is no longer there. */
  targetOf(endpointId: string, releaseId: string): Promise<RetryRules | undefined>;
  /** Lets webhooks reach loopback and private networks. Default false. */
  allowPrivateWebhooks?: boolean;
  /** Spreads delays; for tests. */
  random?: () => number;
}

/** The body of `job-done`, parsed. */
export interface DoneBody {
  /** `IN_PROGRESS` makes it a progress update. */
  status?: unknown;
  output?: unknown;
  /** JSON text of the output; wins over `output`. */
  outputText?: string;
  error?: unknown;
  /** The worker wants to be replaced after this job. */
  stopPod?: unknown;
  /** False: the error is final whatever `retries` says. */
  retryable?: unknown;
}

/** Why a worker is gone. */
export interface GoneCause {
  code: number | null;
  signal: string | null;
  /** The last lines it wrote. */
  logTail?: string[];
}

export interface TakeRequest {
  endpointId: string;
  releaseId?: string;
  workerId: string;
  limit: number;
  holdMs: number;
  signal?: AbortSignal;
}

export interface StreamAnswer {
  status: JobDocument["status"];
  stream: { output: unknown }[];
}

export declare class Jobs {
  constructor(options: JobsOptions);
  /** Accepts a job. Throws `NOT_ACCEPTED` for a wrong policy or webhook, `STORAGE_FULL`, `UNAVAILABLE`. */
  submit(target: JobTarget, request: JobRequest, via: "run" | "runsync"): Promise<Job>;
  get(id: string): Promise<Job | undefined>;
  /** The job once it is final, or as it is when the wait ends first. */
  waitFinal(id: string, waitMs: number, signal?: AbortSignal): Promise<Job | undefined>;
  /** Long poll. A job never goes to an aborted poll. */
  take(request: TakeRequest): Promise<TakenJob[]>;
  /** Returns jobs that a poll took but could not deliver; not a failure of the job. */
  putBack(jobs: readonly TakenJob[]): Promise<void>;
  done(request: {
    jobId: string;
    workerId: string;
    attempt?: number;
    body: DoneBody;
  }): Promise<"accepted" | "stale">;
  chunk(request: {
    jobId: string;
    workerId: string;
    attempt?: number;
    output: unknown;
  }): Promise<"accepted" | "stale">;
  /** A sign of life with the jobs the worker says it holds; undefined when it does not say. */
  ping(workerId: string, endpointId: string, jobIds: string[] | undefined): Promise<void>;
  /** Long poll: jobs that this worker should stop. */
  stopsFor(workerId: string, holdMs: number, signal?: AbortSignal): Promise<string[]>;
  cancel(id: string): Promise<Job | undefined>;
  retry(id: string): Promise<{ job: Job; moved: boolean } | undefined>;
  purge(endpointId: string): Promise<number>;
  stream(
    id: string,
    options: { waitMs: number; signal?: AbortSignal },
  ): Promise<StreamAnswer | undefined>;
  workerGone(workerId: string, cause: GoneCause): Promise<void>;
  /** Open polls of this worker are answered at once with nothing, further ones too. */
  drainWorker(workerId: string): void;
  /** Submitted, requeued, or newly due. */
  onQueued(listener: (endpointId: string) => void): () => void;
  onSettled(listener: (job: Job) => void): () => void;
  /** The execution timeout was reached: the job is FAILED, its worker should be ended. */
  onOverdue(listener: (job: TakenJob) => void): () => void;
  /** The attempt's worker fell silent; the job went back to the queue or failed. */
  onLost(listener: (job: TakenJob) => void): () => void;
  /** The worker asked to be replaced. It gets no further job. */
  onStopPod(listener: (workerId: string) => void): () => void;
  /** Recovery, then timers. Attempts of workers that are not in `livingWorkers` go back to the queue. */
  start(options?: { livingWorkers?: ReadonlySet<string> }): Promise<void>;
  close(): Promise<void>;
}
