/** What the jobs room is asked and told, by clients and by workers. */

import type { MemoryExcess } from "../../contract/compute.ts";
import type { JobDocument } from "../../contract/job.ts";

/** What a client asks for. Durations are ms, times epoch ms. */
export interface JobRequest {
  input: unknown;
  /** JSON text of the input; wins over `input` and keeps numbers exactly as they were written. */
  inputText?: string;
  webhook?: string;
  policy?: { executionTimeout?: number; ttl?: number; lowPriority?: boolean };
  /** Further top-level keys for the worker, such as `s3Config`: JSON text of an object. */
  extra?: string;
  idempotencyKey?: string;
  /** Whose job it is: jobs with the same key run `keyConcurrency` at a time, and keys take turns. */
  key?: string;
  /** The result is of no use after this. */
  deadline?: number;
  /** The earliest start. */
  runAt?: number;
  /** The same, from now on. */
  delayMs?: number;
}

/** Where a job goes; `executionTimeoutMs` and `retries` come from the endpoint's manifest. */
export interface JobTarget {
  endpointId: string;
  releaseId: string;
  /** 0 means the platform's default. */
  executionTimeoutMs: number;
  retries: number;
  /** Jobs with the same key that may run at once. Default 1. */
  keyConcurrency?: number;
}

/** How {@link Jobs.submitAndWait} waits. */
export interface SubmitWait {
  waitMs: number;
  /** Aborts when nobody waits any more. */
  signal: () => AbortSignal;
  /** Called with the id of a job that did not exist before. */
  onAccepted?: (id: string) => void;
}

/** How failures of an endpoint's jobs are treated. `isCode`: the endpoint runs a function of the user's. */
export interface RetryRules {
  retries: number;
  isCode: boolean;
}

/** The body of `job-done`, parsed. */
export interface DoneBody {
  /** `IN_PROGRESS` makes it a progress update. */
  status?: unknown;
  output?: unknown;
  /** JSON text of the output; wins over `output`. */
  outputText?: string;
  error?: unknown;
  /** JSON text of the error, for one that is too deep. */
  errorText?: string;
  /** The worker wants to be replaced after this job. */
  stopPod?: unknown;
  /** False: the error is final whatever `retries` says. */
  retryable?: unknown;
  /** What kind of failure the error is: `timeout` or `bad-result`. Anything else: the function's own. */
  failure?: unknown;
  /** A number: another attempt is wanted so many ms from now, whatever `retries` says. */
  retryAfterMs?: unknown;
}

/** Why a worker is gone. */
export interface GoneCause {
  code: number | null;
  signal: string | null;
  /** The last lines it wrote. */
  logTail?: string[];
  /** The most memory it has used, as it said. */
  peakMemoryBytes?: number;
  /** Why the server has ended it: then it was none of its jobs. */
  endedBecause?: string;
  /** The server has ended it for the memory it used: one of its jobs has done that. */
  excess?: MemoryExcess;
}

export interface TakeRequest {
  endpointId: string;
  releaseId?: string;
  workerId: string;
  /** The worker runs on this machine. Default false. */
  isLocal?: boolean;
  limit: number;
  holdMs: number;
  signal?: AbortSignal;
}

/** A word of a worker about a job. `attempt` is its fencing number, where the worker knows it. */
export interface WorkerWord {
  jobId: string;
  workerId: string;
  attempt?: number;
}

/** One value of a generator. */
export interface ChunkWord extends WorkerWord {
  /** Which one of the attempt it is, from 1; then one that comes again counts once. */
  number?: number | undefined;
  output: unknown;
  outputText?: string;
}

export type Verdict = "accepted" | "stale";

/** How far somebody has read a job's stream: to this chunk of this attempt. */
export interface StreamPlace {
  attempt: number;
  position: number;
}

export interface StreamAnswer {
  status: JobDocument["status"];
  /** JSON texts, each delivered once. */
  chunks: string[];
}
