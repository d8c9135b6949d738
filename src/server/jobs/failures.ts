/**
 * What becomes of a job whose attempt failed, decided purely, and what is said about it.
 *
 * A worker that dies takes all its jobs along, and one of them may have killed it. When it held only
 * one, that one is to blame. When it held several, none is: each runs alone on a worker from then on, so
 * that the next death has one job to blame and the innocent ones come to their end. So a job loses at
 * most one attempt in this way to each neighbour, and none of them counts.
 */

import { isPlainJsonObject, isTooDeep, parseOrUndefined } from "../../contract/json.ts";
import type { Job } from "../../contract/job.ts";
import { withAttempt, type FailureKind, type JobFailure } from "../../contract/job-failure.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { RetryWish } from "../../contract/retry-wish.ts";
import type { Outcome } from "../../contract/store.ts";
import { backoffMs, type BackoffPolicy } from "../../kit/backoff.ts";
import { LEASE_MS } from "./attempts.ts";
import type { DoneBody, GoneCause, RetryRules } from "./requests.ts";

/** Before another attempt after a thrown error. */
export const RETRY_BACKOFF: BackoffPolicy = { baseMs: 500, factor: 2, capMs: 30_000, jitter: 0.2 };

const MIB = 1024 * 1024;
/** Lines of a lost worker's output that the error quotes. */
const QUOTED_LINES = 10;
const MESSAGE_LENGTH = 1000;
/** Of each text in a report that is too long. A few of them fit, even when each character is escaped. */
const REPORT_TEXT_LENGTH = LIMITS.errorLength / 16;
/** What V8 writes before it aborts. */
const HEAP_IS_FULL = /JavaScript heap out of memory|FATAL ERROR: .*Allocation failed/;

export interface ErrorReport {
  error: string;
  kind: FailureKind;
  output: string | null;
  wish: RetryWish;
  now: number;
  random: number;
}

/** After the function reported an error. */
export function afterError(job: Job, rules: RetryRules | undefined, report: ErrorReport): Outcome {
  const { retryable, retryAfterMs } = report.wish;
  const { error, output, kind, now } = report;
  const history = historyOf(job, { failure: { kind, message: messageOf(error) }, now });
  if (retryAfterMs !== undefined) return afterWish(job, { ...report, history });
  // An image's worker says itself what is final: handler errors are results on the platform.
  const retries = rules?.isCode === true && retryable !== false ? rules.retries : 0;
  if (job.failures >= retries) return { kind: "failed", error, output, history };
  const runAt = now + backoffMs(RETRY_BACKOFF, job.failures, report.random);
  // Whatever is wrong with it, it has not killed its worker.
  return { kind: "requeued", runAt, history, aloneSince: null };
}

/** Another attempt was asked for. Nothing but its time to live ends a job that asks again and again. */
function afterWish(
  job: Job,
  { error, output, wish, now, history }: ErrorReport & { history: string },
): Outcome {
  const runAt = now + (wish.retryAfterMs ?? 0);
  if (runAt < job.expiresAt) {
    return { kind: "requeued", runAt: Math.ceil(runAt), history, aloneSince: null };
  }
  const leftMs = Math.max(0, job.expiresAt - now);
  const why = `; it asked for another attempt later than its time to live (policy.ttl), which is over in ${leftMs} ms`;
  return { kind: "failed", error: `${error}${why}`, output, history };
}

/** How a worker was lost under a job. */
export interface Loss {
  failure: JobFailure;
  /** The failure with all that is known, as a text. */
  text: string;
  /** `shared`: one of several jobs may have done it. `none`: it was nobody's fault. */
  blame: "own" | "shared" | "none";
  now: number;
}

/**
 * After the worker was lost under the job. It keeps its place in the queue. Once for an image, as on the
 * platform; code of ours has its own number, but at least one.
 */
export function afterLoss(job: Job, rules: RetryRules | undefined, loss: Loss): Outcome {
  const { failure, now } = loss;
  const { runAt } = job;
  if (loss.blame !== "own") {
    const history = historyOf(job, { failure, now, counted: false });
    const alone = loss.blame === "shared" ? { aloneSince: now } : {};
    return { kind: "requeued", runAt, blameless: true, history, ...alone };
  }
  const history = historyOf(job, { failure, now });
  const retries = rules?.isCode === true ? Math.max(rules.retries, 1) : 1;
  if (job.failures < retries) return { kind: "requeued", runAt, history };
  const error = `job timed out after ${job.failures} retries: ${loss.text}`;
  return { kind: "failed", error, output: null, history };
}

/** The worker is gone; `neighbours` is how many other jobs it held. */
export function lossByEnd(
  workerId: string,
  cause: GoneCause,
  { neighbours, now }: { neighbours: number; now: number },
): Loss {
  const isExpected = cause.endedBecause !== undefined;
  const { code, signal, logTail = [], excess } = cause;
  const peakMemoryBytes = peakOf(cause);
  const tail = logTail.filter((line) => line !== "").slice(-QUOTED_LINES);
  const blame = isExpected ? "none" : neighbours > 0 ? "shared" : "own";
  const message = isExpected
    ? `the server ended worker ${workerId}: ${cause.endedBecause}`
    : `worker ${workerId} ${endOf(cause)}`;
  const failure: JobFailure = {
    kind: isExpected ? "ended" : kindOf(cause),
    message,
    ...(code === null ? {} : { exitCode: code }),
    ...(signal === null ? {} : { signal }),
    ...(peakMemoryBytes === undefined ? {} : { peakMemoryBytes }),
    ...(excess === undefined ? {} : { memoryLimitBytes: excess.limitBytes }),
    ...(tail.length === 0 ? {} : { logTail: tail }),
    ...(blame === "shared" ? { neighbours } : {}),
  };
  return { failure, text: textOf(failure), blame, now };
}

/** The worker gave no sign of life for a lease. */
export function lossBySilence(
  workerId: string,
  { neighbours, now }: { neighbours: number; now: number },
): Loss {
  const message = `worker ${workerId} gave no sign of life for ${LEASE_MS / 1000} s`;
  const shared = neighbours > 0;
  const failure = { kind: "lease-lost", message, ...(shared ? { neighbours } : {}) } as const;
  return { failure, text: message, blame: shared ? "shared" : "own", now };
}

/** The worker lives, but has lost the job: its result could not be posted, or it gave up. */
export function lossByDrop(workerId: string, now: number): Loss {
  const message = `worker ${workerId} dropped the job`;
  return { failure: { kind: "dropped", message }, text: message, blame: "own", now };
}

/** The attempt ran longer than it may. */
export function afterOvertime(job: Job, now: number): Outcome {
  const seconds = job.policy.executionTimeoutMs / 1000;
  const error = `the job ran longer than its execution timeout of ${seconds} s (executionTimeout)`;
  const history = historyOf(job, { failure: { kind: "timeout", message: error }, now });
  return { kind: "failed", error, output: null, history };
}

/** A result that cannot be kept. */
export function afterBadResult(job: Job, error: string, now: number): Outcome {
  const history = historyOf(job, { failure: { kind: "bad-result", message: error }, now });
  return { kind: "failed", error, output: null, history };
}

/** Clients decode `error` as a string; workers may post anything, deeper than it can be written again, too. */
export function errorText({
  error,
  errorText: text,
}: Pick<DoneBody, "error" | "errorText">): string {
  if (typeof error === "string") return error;
  return text !== undefined && isTooDeep(error) ? text : JSON.stringify(error);
}

/**
 * An error that is not longer than it may be, and says how much was left out. A report, as workers write
 * it, stays one: clients read the class and the message from it. To be called after secrets have been
 * taken out: half of one would not be recognised.
 */
export function boundedError(error: string): string {
  if (error.length <= LIMITS.errorLength) return error;
  const report = parseOrUndefined(error);
  if (isPlainJsonObject(report) && !isTooDeep(report)) {
    const fields = Object.entries(report).map(([name, value]) => [
      name,
      typeof value === "string" ? beginningOf(value, REPORT_TEXT_LENGTH) : value,
    ]);
    const short = JSON.stringify(Object.fromEntries(fields));
    if (short.length <= LIMITS.errorLength) return short;
  }
  return beginningOf(error, LIMITS.errorLength);
}

function beginningOf(text: string, most: number): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most).toWellFormed()}… (${text.length - most} more characters were left out)`;
}

function historyOf(
  { history, attempt, workerId, startedAt }: Job,
  { failure, now, counted = true }: { failure: JobFailure; now: number; counted?: boolean },
): string {
  return withAttempt(history, {
    attempt,
    workerId: workerId ?? "",
    startedAt: new Date(startedAt ?? now).toISOString(),
    endedAt: new Date(now).toISOString(),
    failure,
    ...(counted ? {} : { counted }),
  });
}

/** Of the JSON text that workers report, or of whatever else they say. */
function messageOf(error: string): string {
  const report = parseOrUndefined(error);
  const { error_type: type, error_message: message } = isPlainJsonObject(report) ? report : {};
  if (typeof message !== "string") return error.slice(0, MESSAGE_LENGTH);
  // Python writes the class as `<class 'ValueError'>`.
  const name =
    typeof type === "string" ? (/^<class '(?:.*\.)?(.+)'>$/.exec(type)?.[1] ?? type) : "Error";
  return `${name}: ${message}`.slice(0, MESSAGE_LENGTH);
}

function peakOf({ peakMemoryBytes = 0, excess }: GoneCause): number | undefined {
  const peak = Math.max(peakMemoryBytes, excess?.usedBytes ?? 0);
  return peak === 0 ? undefined : peak;
}

function kindOf({ code, signal, logTail = [], excess }: GoneCause): FailureKind {
  if (excess !== undefined || logTail.some((line) => HEAP_IS_FULL.test(line)))
    return "out-of-memory";
  if (signal !== null) return "signal";
  return code === null ? "lease-lost" : "exit";
}

function endOf({ code, signal, excess }: GoneCause): string {
  if (excess !== undefined) {
    return `was ended: it may use ${Math.round(excess.limitBytes / MIB)} MiB of memory`;
  }
  if (signal !== null) return `was killed by ${signal}`;
  return code === null ? "disappeared" : `exited with code ${code}`;
}

function textOf({ message, peakMemoryBytes, logTail = [] }: JobFailure): string {
  const used =
    peakMemoryBytes === undefined
      ? ""
      : `, having used up to ${Math.round(peakMemoryBytes / MIB)} MiB of memory`;
  const lines = logTail.map((line) => `\n  ${line}`).join("");
  return `${message}${used}${lines === "" ? "" : `; its last output:${lines}`}`;
}
