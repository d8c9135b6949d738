/** Exponential backoff with jitter. */

export interface BackoffPolicy {
  baseMs: number;
  factor: number;
  capMs: number;
  /** 0.2 spreads a delay over ±20 %, so that many waiters do not come back together. */
  jitter: number;
}

/** The delay before try number `tries` (0 for the first retry), ms. */
export function backoffMs(policy: BackoffPolicy, tries: number, random = Math.random()): number {
  const plain = Math.min(policy.capMs, policy.baseMs * policy.factor ** tries);
  return Math.round(plain * (1 + policy.jitter * (2 * random - 1)));
}
