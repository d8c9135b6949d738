/**
 * What a thrown error may say about another attempt of its job, recognised by its properties: user code
 * and worker carry their own copies of every class.
 *
 *   retryable: false     never again, whatever `retries` says
 *   retryAfterMs: n      again, n ms from now, whatever `retries` says, as long as the job may live
 */

export interface RetryWish {
  retryable?: false;
  retryAfterMs?: number;
}

/** The wish of whatever was thrown; empty when it has none. */
export function retryWishOf(thrown: unknown): RetryWish {
  if (typeof thrown !== "object" || thrown === null) return {};
  const { retryable, retryAfterMs } = thrown as { retryable?: unknown; retryAfterMs?: unknown };
  if (retryable === false) return { retryable };
  return isDelay(retryAfterMs) ? { retryAfterMs } : {};
}

/** A number of milliseconds from now. */
export function isDelay(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
