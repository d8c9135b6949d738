/** Jobs: the record the store keeps, what clients submit, and the wire form they read. */

import { readHistory, type JobAttempt, type JobFacts, type JobFailure } from "./job-failure.ts";
import type { JobState } from "./states.ts";

export interface JobPolicy {
  /** Longest run of one attempt, ms. */
  executionTimeoutMs: number;
  /** Whole life from submission, ms. */
  ttlMs: number;
  /** Never triggers a scale-up. */
  lowPriority: boolean;
}

/** A job as submitted and accepted. */
export interface NewJob {
  id: string;
  endpointId: string;
  /** The release that runs it: a job stays on the release that accepted it. */
  releaseId: string;
  /** Which operation submitted it; decides retention. */
  via: "run" | "runsync";
  /** JSON text. */
  input: string;
  policy: JobPolicy;
  webhook: string | null;
  /** Extra top-level keys handed to workers, JSON text, such as `s3Config`. */
  extra: string | null;
  /** Earliest start, epoch ms. */
  runAt: number;
  createdAt: number;
  /** Submissions with the same key within the ttl are one job. */
  idempotencyKey: string | null;
  /** Whose job it is: at most `keyConcurrency` jobs of an endpoint with the same key run at once. */
  key: string | null;
  /** What the endpoint's options say; the same for all jobs of a release. Means nothing without a `key`. */
  keyConcurrency: number;
}

export interface Job extends NewJob {
  state: JobState;
  /** JSON text of the output, or of the newest progress value while running. */
  output: string | null;
  error: string | null;
  /**
   * Fencing number: grows by one with every take, never reused. A result carries the number of the
   * attempt it belongs to; any other is refused.
   */
  attempt: number;
  /** Attempts that a thrown error or a lost worker ended and another one followed: `retries` to clients. */
  failures: number;
  /** Its failed attempts, JSON text of JobAttempt[]; null when none has failed. */
  history: string | null;
  /**
   * Since when it may only run alone on its worker, epoch ms: a worker was lost under it and others, and
   * nobody knows which of them did it.
   */
  aloneSince: number | null;
  /** When its time to live is over, epoch ms. A retry by the user starts it anew. */
  expiresAt: number;
  workerId: string | null;
  /** Until when the current attempt is believed alive, epoch ms. */
  leaseUntil: number | null;
  /** When the current or last attempt was taken, epoch ms. */
  startedAt: number | null;
  finishedAt: number | null;
  /** When the record is dropped, epoch ms; set at the end. */
  dropAt: number | null;
  /** It has failed, and the time of its result is over: only those who ask for such jobs see it. */
  isKept: boolean;
}

/** A job as its clients read it. All numbers are whole. Source: spec/job-api.md 4. */
export interface JobDocument {
  id: string;
  status: JobState;
  delayTime?: number;
  executionTime?: number;
  output?: unknown;
  error?: string;
  retries?: number;
  workerId?: string;
  /** Not of the platform's; missing when there is nothing to say. */
  flash?: JobFacts;
}

export function jobDocument(job: Job): JobDocument {
  const output = job.output === null ? {} : { output: JSON.parse(job.output) as unknown };
  return { ...factsOf(job), ...output };
}

/**
 * {@link jobDocument} as JSON text, with the output exactly as its worker wrote it: large numbers keep
 * their digits, `1.0` stays a float to those who tell the difference.
 */
export function jobDocumentText(job: Job): string {
  const facts = JSON.stringify(factsOf(job));
  return job.output === null ? facts : `${facts.slice(0, -1)},"output":${job.output}}`;
}

function factsOf(job: Job): JobDocument {
  const isOver = job.finishedAt !== null;
  const delayTime =
    // From the time it was due: a retry's wait does not count the attempts before it.
    job.startedAt === null ? 0 : Math.max(0, Math.round(job.startedAt - job.runAt));
  const executionTime =
    job.startedAt === null || job.finishedAt === null
      ? 0
      : Math.max(0, Math.round(job.finishedAt - job.startedAt));
  return {
    id: job.id,
    status: job.state,
    // Clients of a final answer require these three, so they are there even when nothing ran.
    ...(isOver || job.startedAt !== null ? { delayTime } : {}),
    ...(isOver ? { executionTime } : {}),
    ...(isOver || job.workerId !== null ? { workerId: job.workerId ?? "" } : {}),
    ...(job.error === null ? {} : { error: job.error }),
    ...(job.failures > 0 ? { retries: job.failures } : {}),
    ...flashFactsOf(job),
  };
}

function flashFactsOf(job: Job): Pick<JobDocument, "flash"> {
  if (job.key === null && job.history === null && job.state !== "TIMED_OUT") return {};
  const failed = readHistory(job.history);
  const last = job.state === "TIMED_OUT" ? expiryOf(job) : failed.at(-1)?.failure;
  const isOver = job.state === "COMPLETED" || job.state === "CANCELLED";
  const attempts = [...failed, ...lastAttemptOf(job, failed)];
  return {
    flash: {
      ...(job.key === null ? {} : { key: job.key }),
      ...(last === undefined || isOver ? {} : { failure: last }),
      ...(failed.length === 0 ? {} : { attempts }),
    },
  };
}

function expiryOf({ error }: Job): JobFailure {
  return { kind: "expired", message: error ?? "the job's time to live is over" };
}

/** The running one, or the one that ended otherwise than by a failure of its own. */
function lastAttemptOf(job: Job, failed: readonly JobAttempt[]): JobAttempt[] {
  const { attempt, workerId, startedAt, finishedAt } = job;
  if (workerId === null || startedAt === null || failed.at(-1)?.attempt === attempt) return [];
  const started = { attempt, workerId, startedAt: new Date(startedAt).toISOString() };
  if (finishedAt === null) return [started];
  return [{ ...started, endedAt: new Date(finishedAt).toISOString() }];
}

/** Numbers of an endpoint's jobs. Source: spec/job-api.md 5.8. */
export interface JobCounts {
  completed: number;
  failed: number;
  inProgress: number;
  inQueue: number;
  retried: number;
}
