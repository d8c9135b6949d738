/** What a job may ask for when it comes, decided purely. What becomes of one that failed: failures. */

import { FlashError, type Issue } from "../../contract/errors.ts";
import type { Job, JobPolicy } from "../../contract/job.ts";
import { show } from "../../contract/json.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { JobRequest, JobTarget } from "./requests.ts";
import { isPrivateHost } from "./private-address.ts";

/** Of `policy.key`; it is part of several indexes. */
const MAX_KEY_LENGTH = 255;

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
  const hasLength = typeof key === "string" && key.length > 0 && key.length <= MAX_KEY_LENGTH;
  // Half a surrogate pair is nothing that a store can keep apart from another half.
  if (hasLength && key.isWellFormed()) return key;
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
  const message = `must be a whole number of milliseconds from ${least} to ${most}, got ${show(value)}`;
  return [{ path, message }];
}
