/**
 * Health of load-balanced workers: polled until the first 200, then now and then. A worker that does
 * not answer in time while it has requests is busy, not ill: JavaScript has one thread.
 *
 *   204 or nobody listens while starting      loading
 *   3 bad answers in a row when ready         UNHEALTHY: it gets no requests
 *   still bad 10 s later                      ended and replaced
 *
 * Source of the codes: spec/load-balancing.md A2; the intervals are ours.
 */

import type { Clock } from "../../kit/clock.ts";
import { sleep } from "../../kit/clock.ts";
import type { WorkerLink } from "./link.ts";

const FIRST_POLL_MS = 10;
const SLOWEST_START_POLL_MS = 250;
const POLL_MS = 5000;
const POLL_UNHEALTHY_MS = 1000;
const TIMEOUT_MS = 3000;
const BAD_ANSWERS = 3;
const UNHEALTHY_MS = 10_000;

export interface HealthWatch {
  link: WorkerLink;
  path: string;
  clock: Clock;
  signal: AbortSignal;
  isBusy: () => boolean;
  onUnhealthy: () => void;
  /** It is healthy, whatever it was before. */
  onHealthy: () => void;
  /** It has been unhealthy for too long. */
  onHopeless: () => void;
}

/** Resolves at the first 200. Rejects when `signal` aborts. */
export async function untilHealthy(
  watch: Pick<HealthWatch, "link" | "path" | "clock" | "signal">,
): Promise<void> {
  for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * 1.5, SLOWEST_START_POLL_MS)) {
    if ((await watch.link.checkHealth(watch.path, TIMEOUT_MS)) === "healthy") return;
    await sleep(watch.clock, pauseMs, watch.signal);
  }
}

/** Polls until `signal` aborts, upon which it rejects. */
export async function watchHealth(watch: HealthWatch): Promise<never> {
  let bad = 0;
  let unhealthySince: number | undefined;
  for (;;) {
    const isUnhealthy = unhealthySince !== undefined;
    const pauseMs = bad > 0 || isUnhealthy ? POLL_UNHEALTHY_MS : POLL_MS;
    await sleep(watch.clock, pauseMs, watch.signal);
    const health = await watch.link.checkHealth(watch.path, TIMEOUT_MS);
    watch.signal.throwIfAborted();
    if (health === "healthy") {
      bad = 0;
      watch.onHealthy();
      unhealthySince = undefined;
      continue;
    }
    if (health === "silent" && watch.isBusy()) continue;
    bad += 1;
    if (bad < BAD_ANSWERS) continue;
    if (unhealthySince === undefined) {
      unhealthySince = watch.clock.elapsed();
      watch.onUnhealthy();
    } else if (watch.clock.elapsed() - unhealthySince >= UNHEALTHY_MS) {
      watch.onHopeless();
    }
  }
}
