/**
 * How attempts of jobs fail, as facts: kept with the job, shown in its document under `flash`, and
 * carried by the SDK's errors. The `error` text beside them is for people and for Runpod's clients.
 */

/**
 *   exception      the function threw, or returned an error
 *   timeout        the attempt ran longer than the job's execution timeout
 *   exit           the worker's process exited under the job
 *   signal         the worker's process was killed by a signal
 *   out-of-memory  the worker's process had used up its memory
 *   lease-lost     the worker gave no sign of life
 *   dropped        the worker lives, but has lost the job
 *   ended          the server ended the worker for a reason that has nothing to do with this job
 *   bad-result     the result cannot be kept: too large, or not JSON
 *   expired        the job's time to live was over
 */
export const FAILURE_KINDS = [
  "exception",
  "timeout",
  "exit",
  "signal",
  "out-of-memory",
  "lease-lost",
  "dropped",
  "ended",
  "bad-result",
  "expired",
] as const;
export type FailureKind = (typeof FAILURE_KINDS)[number];

/** Why an attempt failed. */
export interface JobFailure {
  kind: FailureKind;
  /** One sentence. */
  message: string;
  /** Of the worker's process, when it exited. */
  exitCode?: number;
  /** What killed the worker's process, such as `SIGKILL`. */
  signal?: string;
  /** The most memory the worker had used. */
  peakMemoryBytes?: number;
  /** What the worker might have used, when it was ended for using more. */
  memoryLimitBytes?: number;
  /** The last lines that the worker wrote; of the newest failure only. */
  logTail?: string[];
  /**
   * Jobs that ran beside this one when the worker was lost. Nobody knows which of them did it, so the
   * attempt does not count, and each of them runs alone from then on.
   */
  neighbours?: number;
}

/** One attempt of a job. Times are ISO 8601. */
export interface JobAttempt {
  /** The fencing number. Attempts that never reached a worker leave gaps. */
  attempt: number;
  workerId: string;
  startedAt: string;
  /** Missing while it runs. */
  endedAt?: string;
  /** Missing when it did not fail. */
  failure?: JobFailure;
  /** False: it does not count against the endpoint's `retries`. */
  counted?: false;
}

/** What a job document says beyond the platform's own fields. */
export interface JobFacts {
  /** Whose job it is. */
  key?: string;
  /** Why the job has failed, or its last attempt when another one follows. */
  failure?: JobFailure;
  /** Attempts that failed, and after those the last one; the newest 20. */
  attempts?: JobAttempt[];
}

/** Failures that a job remembers. */
export const MAX_ATTEMPTS = 20;

/** The failed attempts of a job with one more, as JSON text. Only the newest keeps what its worker wrote. */
export function withAttempt(history: string | null, attempt: JobAttempt): string {
  const earlier = readHistory(history).slice(1 - MAX_ATTEMPTS);
  const narrow = earlier.map(({ failure, ...rest }) => {
    if (failure === undefined) return rest;
    const { logTail: _, ...kept } = failure;
    return { ...rest, failure: kept };
  });
  return JSON.stringify([...narrow, attempt]);
}

/** What the store keeps of a job's failed attempts. */
export function readHistory(history: string | null): JobAttempt[] {
  return history === null ? [] : (JSON.parse(history) as JobAttempt[]);
}
