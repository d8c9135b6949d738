/** What happens to a job, decided purely: its policy when it comes, its future when an attempt failed. */

import { FlashError, type Issue } from "../../contract/errors.ts";
import type { Job, JobPolicy } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Outcome } from "../../contract/store.ts";
import { backoffMs, type BackoffPolicy } from "../../kit/backoff.ts";
import type { GoneCause, JobRequest, JobTarget, RetryRules } from "./requests.ts";
import type { RetryWish } from "../../contract/retry-wish.ts";
import { isPrivateHost } from "./private-address.ts";

/** Before another attempt after a thrown error. */
export const RETRY_BACKOFF: BackoffPolicy = { baseMs: 500, factor: 2, capMs: 30_000, jitter: 0.2 };

const MIB = 1024 * 1024;
/** Of `policy.key`; it is part of several indexes. */
const MAX_KEY_LENGTH = 255;
/** Lines of a lost worker's output that the error quotes. */
const QUOTED_LINES = 10;

/** The job's policy with defaults. Throws `NOT_ACCEPTED` naming every field that is out of bounds. */
export function readPolicy(target: JobTarget, policy: JobRequest["policy"] = {}): JobPolicy {
  const { executionTimeout, ttl, lowPriority } = policy;
  const issues: Issue[] = [
    ...outOfBounds("policy.executionTimeout", executionTimeout, [
      LIMITS.executionTimeoutMinMs,
      LIMITS.executionTimeoutMaxMs,
    ]),
    ...outOfBounds("policy.ttl", ttl, [LIMITS.ttlMinMs, LIMITS.ttlMaxMs]),
  ];
  if (lowPriority !== undefined && typeof lowPriority !== "boolean") {
    issues.push({ path: "policy.lowPriority", message: "must be true or false" });
  }
  if (issues.length > 0) throw refused(issues);
  const ownTimeout = target.executionTimeoutMs;
  return {
    executionTimeoutMs:
      executionTimeout ?? (ownTimeout > 0 ? ownTimeout : LIMITS.executionTimeoutDefaultMs),
    ttlMs: ttl ?? LIMITS.ttlDefaultMs,
    lowPriority: lowPriority ?? false,
  };
}

/** A job lives no longer than somebody waits for it. Throws `CALL_TIMEOUT` when that time is over. */
export function withDeadline(
  policy: JobPolicy,
  { deadline }: Pick<JobRequest, "deadline">,
  now: number,
): JobPolicy {
  if (deadline === undefined) return policy;
  const leftMs = Math.ceil(deadline - now);
  if (leftMs > 0) return { ...policy, ttlMs: Math.min(policy.ttlMs, leftMs) };
  throw new FlashError("CALL_TIMEOUT", "The job was not accepted: its caller's time is over.");
}

/** Null when there is none. Throws `NOT_ACCEPTED` for anything but an allowed http or https URL. */
export function readWebhook(webhook: string | undefined, allowPrivate: boolean): string | null {
  if (webhook === undefined || webhook === "") return null;
  const url = URL.canParse(webhook) ? new URL(webhook) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw refused([{ path: "webhook", message: "must be an http or https URL" }]);
  }
  if (!allowPrivate && isPrivateHost(url.hostname)) {
    throw refused([{ path: "webhook", message: "must not point into a private network" }]);
  }
  return webhook;
}

/** Null when there is none. Throws `NOT_ACCEPTED` for what cannot be a key. */
export function readKey(key: unknown): string | null {
  if (key === undefined) return null;
  if (typeof key === "string" && key.length > 0 && key.length <= MAX_KEY_LENGTH) return key;
  const message = `must be a text of 1 to ${MAX_KEY_LENGTH} characters`;
  throw refused([{ path: "policy.key", message }]);
}

/** The earliest start. Throws `NOT_ACCEPTED` when the job would be over before. */
export function readRunAt(
  { runAt, delayMs }: Pick<JobRequest, "runAt" | "delayMs">,
  now: number,
  ttlMs: number,
): number {
  if (runAt === undefined && delayMs === undefined) return now;
  if (runAt !== undefined && delayMs !== undefined) {
    throw refused([{ path: "policy.runAt", message: "and policy.delayMs exclude each other" }]);
  }
  if (delayMs !== undefined && (!Number.isInteger(delayMs) || delayMs < 0)) {
    const message = "must be a whole number of milliseconds, not negative";
    throw refused([{ path: "policy.delayMs", message }]);
  }
  const startAt = runAt ?? now + (delayMs ?? 0);
  if (!Number.isFinite(startAt)) {
    const message = "must be a time: epoch milliseconds or ISO 8601";
    throw refused([{ path: "policy.runAt", message }]);
  }
  if (startAt >= now + ttlMs) {
    const path = runAt === undefined ? "policy.delayMs" : "policy.runAt";
    throw refused([{ path, message: "lies beyond the job's time to live (policy.ttl)" }]);
  }
  return Math.max(now, Math.floor(startAt));
}

/** How long a result is kept. A client that waits longer than the promise gets its wait. */
export function retentionMs(via: Job["via"], longestWaitMs: number): number {
  if (via === "run") return LIMITS.retentionRunMs;
  return Math.max(LIMITS.retentionRunsyncMs, Math.min(longestWaitMs, LIMITS.waitMaxMs));
}

export interface ErrorReport {
  error: string;
  output: string | null;
  wish: RetryWish;
  now: number;
  random: number;
}

/** After the function reported an error. */
export function afterError(job: Job, rules: RetryRules | undefined, report: ErrorReport): Outcome {
  const { retryable, retryAfterMs } = report.wish;
  if (retryAfterMs !== undefined) return afterWish(job, report, report.now + retryAfterMs);
  // An image's worker says itself what is final: handler errors are results on the platform.
  const retries = rules?.isCode === true && retryable !== false ? rules.retries : 0;
  if (job.failures >= retries) {
    return { kind: "failed", error: report.error, output: report.output };
  }
  return {
    kind: "requeued",
    runAt: report.now + backoffMs(RETRY_BACKOFF, job.failures, report.random),
  };
}

/** Another attempt was asked for. Nothing but its time to live ends a job that asks again and again. */
function afterWish(job: Job, { error, output, now }: ErrorReport, runAt: number): Outcome {
  if (runAt < job.expiresAt) return { kind: "requeued", runAt: Math.ceil(runAt) };
  const leftMs = Math.max(0, job.expiresAt - now);
  const why = `; it asked for another attempt later than its time to live (policy.ttl), which is over in ${leftMs} ms`;
  return { kind: "failed", error: `${error}${why}`, output };
}

/**
 * After the worker was lost under the job. It keeps its place in the queue. Once for an image, as on the
 * platform; code of ours has its own number, but at least one.
 */
export function afterLoss(job: Job, rules: RetryRules | undefined, cause: string): Outcome {
  const retries = rules?.isCode === true ? Math.max(rules.retries, 1) : 1;
  if (job.failures < retries) {
    return { kind: "requeued", runAt: job.runAt };
  }
  const error = `job timed out after ${job.failures} retries: ${cause}`;
  return { kind: "failed", error, output: null };
}

/** Why a worker is gone, as a sentence and its last words. */
export function describeGone(workerId: string, cause: GoneCause): string {
  const { code, signal, logTail = [], peakMemoryBytes } = cause;
  const how =
    signal !== null
      ? `was killed by ${signal}`
      : code !== null
        ? `exited with code ${code}`
        : "disappeared";
  const used =
    peakMemoryBytes === undefined
      ? ""
      : `, having used up to ${Math.round(peakMemoryBytes / MIB)} MiB of memory`;
  const lines = logTail.slice(-QUOTED_LINES).map((line) => `\n  ${line}`);
  return `worker ${workerId} ${how}${used}${lines.length === 0 ? "" : `; its last output:${lines.join("")}`}`;
}

export function describeOverdue(job: Job): string {
  const seconds = job.policy.executionTimeoutMs / 1000;
  return `the job ran longer than its execution timeout of ${seconds} s (executionTimeout)`;
}

/** Clients decode `error` as a string; workers may post anything. */
export function errorText(error: unknown): string {
  return typeof error === "string" ? error : JSON.stringify(error);
}

export function refused(issues: Issue[]): FlashError {
  const text = issues.map(({ path, message }) => `${path} ${message}`).join("; ");
  return new FlashError("NOT_ACCEPTED", `The job was not accepted: ${text}.`, { issues });
}

function outOfBounds(
  path: string,
  value: unknown,
  [least, most]: readonly [number, number],
): Issue[] {
  if (value === undefined) return [];
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return [];
  const got = JSON.stringify(value);
  const message = `must be a whole number of milliseconds from ${least} to ${most}, got ${got}`;
  return [{ path, message }];
}
