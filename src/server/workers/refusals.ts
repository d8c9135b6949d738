/** Why a request gets no worker, in words. */

import { FlashError } from "../../contract/errors.ts";

/** `details.reason` is the platform's word for it. Source: spec/load-balancing.md A4. */
export function affinityGone(endpoint: string): FlashError {
  return new FlashError("NOT_FOUND", `That worker of '${endpoint}' is gone.`, {
    hint: "Leave the X-Runpod-Worker-Id header out to reach any worker.",
    details: { reason: "affinity_worker_gone" },
  });
}

export function affinityTimedOut(endpoint: string, waitMs: number): FlashError {
  return new FlashError("NO_WORKER", `${waited(endpoint, waitMs)}: it was at capacity.`, {
    status: 400,
    details: { reason: "timed out waiting for worker" },
  });
}

export function timedOut(endpoint: string, waitMs: number): FlashError {
  return new FlashError("NO_WORKER", `no workers available: ${waited(endpoint, waitMs)}.`, {
    hint: "Try again, or raise the endpoint's workers.",
  });
}

export function overloaded(endpoint: string, retryAfterS: number): FlashError {
  return new FlashError(
    "OVERLOADED",
    `'${endpoint}' has more requests than its workers get done.`,
    {
      hint: `Come again in ${retryAfterS} s, or raise 'workers' or 'maxConcurrency'.`,
      details: { retryAfterS },
    },
  );
}

export function switchedOff(endpoint: string): FlashError {
  return new FlashError("NO_WORKER", `no workers available: '${endpoint}' is off (workersMax 0).`, {
    hint: "Raise 'workers' and deploy again.",
  });
}

export function cannotStart(endpoint: string, problem: string, waitMs: number): FlashError {
  const retryAfterS = Math.ceil(waitMs / 1000);
  return new FlashError("WORKER_START_FAILED", `'${endpoint}' cannot start: ${problem}`, {
    hint: `See 'flash logs'; the next start is tried in ${retryAfterS} s.`,
    details: { retryAfterS },
  });
}

export function beingStopped(endpoint: string): FlashError {
  return new FlashError("UNAVAILABLE", `'${endpoint}' is being stopped.`, {
    hint: "Try again soon.",
  });
}

function waited(endpoint: string, waitMs: number): string {
  return `timed out waiting for worker of '${endpoint}' after ${waitMs / 1000} s`;
}
