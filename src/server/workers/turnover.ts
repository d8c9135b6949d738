/** Which workers are to start and which are to go, so that there are as many as the scaler says: pure. */

import type { ResolvedOptions } from "../../contract/options.ts";
import type { WorkerState } from "../../contract/states.ts";

/** A worker, as far as it matters here. */
export interface Member {
  readonly version: { releaseId: string };
  readonly state: WorkerState;
  /** It counts as one of the workers that were asked for. */
  readonly isUp: boolean;
  readonly isReady: boolean;
  readonly load: number;
  /** Monotonic, ms. */
  readonly idleSince: number;
}

/** How many workers to start now, beside those a version has, to have `target` of them. */
export function missing(
  members: readonly Member[],
  target: number,
  { failures, now }: { failures: { count: number; nextStartAt: number }; now: number },
): number {
  const wanted = target - upAmong(members);
  if (failures.count === 0) return Math.max(0, wanted);
  const isStarting = members.some(({ state }) => state === "INITIALIZING");
  // One at a time until one has proven good.
  return now < failures.nextStartAt || isStarting ? 0 : Math.min(1, Math.max(0, wanted));
}

/** Workers of the active version that are too many and have been idle for long enough, the longest first. */
export function idleTooLong<M extends Member>(
  members: readonly M[],
  target: number,
  {
    options: { workersMin, workersMax, idleTimeoutS },
    now,
  }: { options: ResolvedOptions; now: number },
): M[] {
  const surplus = Math.max(0, upAmong(members) - Math.max(workersMin, target));
  return members
    .filter(({ isUp, state, load }) => isUp && state === "IDLE" && load === 0)
    .filter(({ idleSince }) => workersMax === 0 || now - idleSince >= idleTimeoutS * 1000)
    .sort((a, b) => a.idleSince - b.idleSince)
    .slice(0, surplus);
}

/**
 * Workers that run no active version and have nothing to do, in excess of those that jobs of their version
 * want, by release.
 */
export function unwanted<M extends Member>(
  earlier: readonly M[],
  wanted: ReadonlyMap<string, number>,
): M[] {
  const left = new Map<string, number>();
  for (const { isUp, version } of earlier) {
    if (isUp) left.set(version.releaseId, (left.get(version.releaseId) ?? 0) + 1);
  }
  return earlier.filter(({ isUp, load, version: { releaseId } }) => {
    const up = left.get(releaseId) ?? 0;
    if (load > 0 || up <= (wanted.get(releaseId) ?? 0)) return false;
    if (isUp) left.set(releaseId, up - 1);
    return true;
  });
}

/** Load-balanced workers that run no active version, once one that does serves, or they have been idle. */
export function superseded<M extends Member>(
  earlier: readonly M[],
  { isCovered, idleMs, now }: { isCovered: boolean; idleMs: number; now: number },
): M[] {
  return earlier.filter(
    ({ load, idleSince }) => isCovered || (load === 0 && now - idleSince >= idleMs),
  );
}

function upAmong(members: readonly Member[]): number {
  return members.filter(({ isUp }) => isUp).length;
}
