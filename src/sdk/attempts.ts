/** What a function can say about its job's next attempt when it fails: `throw stop(…)`, `throw retryIn(…)`. */

import { FlashError } from "../contract/flash-error.ts";
import { isDelay } from "../contract/retry-wish.ts";

/**
 * An error that ends the job: throw it when another attempt would fail as well. The job is FAILED at once
 * with this reason, whatever `retries` says.
 *
 * @example
 * if (order.total < 0) throw stop("the total is negative");
 */
export function stop(reason: string): Error {
  const error = new Error(reason);
  error.name = "Stop";
  return Object.assign(error, { retryable: false });
}

/**
 * An error that asks for another attempt `ms` milliseconds from now, such as after the `Retry-After`
 * of a service. It does so whatever `retries` says, but not beyond the job's time to live (`policy.ttl`,
 * 24 h by default): a job that would start later is FAILED at once. Throws `INVALID_USAGE` when `ms` is
 * no number of milliseconds.
 *
 * @example
 * if (response.status === 429) throw retryIn(5000, "the service is busy");
 */
export function retryIn(ms: number, reason = "another attempt was asked for"): Error {
  if (!isDelay(ms)) {
    throw new FlashError(
      "INVALID_USAGE",
      `retryIn() takes milliseconds from 0, got ${String(ms)}.`,
    );
  }
  const error = new Error(reason);
  error.name = "RetryIn";
  return Object.assign(error, { retryAfterMs: ms });
}
