/**
 * How many workers an endpoint should have: pure, so that it can be tested as a table and every
 * decision be shown with its inputs. Source of the formulas: spec/load-balancing.md B2.
 *
 *   REQUEST_COUNT   ceil((waiting + running) / scalerValue)
 *   QUEUE_DELAY     one more step while the oldest due job has waited longer than scalerValue seconds;
 *                   the first worker comes at once
 *
 * The target is where the number should go, not a change to what is there: deciding twice with the
 * same view gives the same answer, and workers that are on their way count. Workers above the
 * target are not stopped by this decision; they stop when their idle timeout is over.
 *
 * Only the active version scales freely. An earlier version gets workers while jobs that it accepted
 * wait, all earlier versions together never more than `workersMax`, oldest job first; so both
 * versions overlap during a release, and neither starves.
 */

import type { VersionView } from "../../contract/control.ts";
import {
  requestsPerWorker,
  type EndpointKind,
  type ResolvedOptions,
} from "../../contract/options.ts";

export type ScalePolicy = Pick<
  ResolvedOptions,
  "workersMin" | "workersMax" | "scalerType" | "scalerValue" | "maxConcurrency"
>;

export interface ScaleView {
  kind: EndpointKind;
  versions: readonly VersionView[];
  /** When the last QUEUE_DELAY step was made, on the clock of `now`; undefined for never. */
  lastStepAt: number | undefined;
}

export interface Target {
  releaseId: string;
  target: number;
  /** A sentence for people, with the numbers that led to it. */
  reason: string;
  /** True when this is a QUEUE_DELAY step. */
  isStep: boolean;
}

/** QUEUE_DELAY adds workers at most this often, ms, however often it is asked. */
export const STEP_MS = 1000;

/** One target for each version, in the order of the view. `now` is monotonic, ms. */
export function decide(view: ScaleView, policy: ScalePolicy, now: number): Target[] {
  const earlier = earlierTargets(view, policy);
  return view.versions.map((version) => {
    if (!version.isActive) {
      return earlier.get(version.releaseId) ?? nothing(version, "no job of this release waits");
    }
    if (policy.workersMax === 0) return nothing(version, "workersMax is 0: the endpoint is off");
    const wanted = activeTarget(version, view, policy, now);
    return keepServing(bound(wanted, policy), version, view);
  });
}

function activeTarget(
  version: VersionView,
  view: ScaleView,
  policy: ScalePolicy,
  now: number,
): Target {
  return policy.scalerType === "REQUEST_COUNT"
    ? requestCount(version, view, policy)
    : queueDelay(version, view, policy, now);
}

function requestCount(version: VersionView, view: ScaleView, policy: ScalePolicy): Target {
  const { waiting, running, releaseId } = version;
  // A load-balanced worker that may not have more requests is no worker for more of them.
  const share = view.kind === "lb" ? requestsPerWorker(policy) : policy.scalerValue;
  const target = Math.ceil((waiting + running) / share);
  const reason = `${waiting} waiting and ${running} running, ${share} for each worker`;
  return { releaseId, target, reason, isStep: false };
}

function queueDelay(
  version: VersionView,
  view: ScaleView,
  policy: ScalePolicy,
  now: number,
): Target {
  const { releaseId, waiting, running, workers, oldestWaitMs } = version;
  const needed = needFor(version, policy);
  // What is there stays while there is work for it; it goes by its idle timeout.
  const kept = Math.min(workers, needed);
  if (waiting === 0) {
    const reason = running === 0 ? "nothing waits or runs" : `${running} running, nothing waits`;
    return { releaseId, target: kept, reason, isStep: false };
  }
  if (workers === 0) {
    return { releaseId, target: 1, reason: `${waiting} waiting and no worker`, isStep: true };
  }
  const waited = `${waiting} waiting, the oldest for ${(oldestWaitMs / 1000).toFixed(1)} s`;
  if (oldestWaitMs <= policy.scalerValue * 1000) {
    const reason = `${waited}, within ${policy.scalerValue} s`;
    return { releaseId, target: kept, reason, isStep: false };
  }
  const isTooSoon = view.lastStepAt !== undefined && now - view.lastStepAt < STEP_MS;
  if (isTooSoon || needed <= workers) {
    const reason = isTooSoon
      ? `${waited}; the last step was just now`
      : `${waited}; enough workers`;
    return { releaseId, target: kept, reason, isStep: false };
  }
  // Doubling: a burst is met in a few steps, and a single late job adds a single worker.
  const target = Math.min(needed, workers * 2);
  return { releaseId, target, reason: `${waited}, over ${policy.scalerValue} s`, isStep: true };
}

function bound(wanted: Target, policy: ScalePolicy): Target {
  const { workersMin, workersMax } = policy;
  const target = Math.min(workersMax, Math.max(workersMin, wanted.target));
  if (target === wanted.target) return wanted;
  const limit = target > wanted.target ? `workersMin ${workersMin}` : `workersMax ${workersMax}`;
  return { ...wanted, target, reason: `${wanted.reason}; ${limit}` };
}

/** While workers of an earlier version still answer requests, the active one gets one to take over. */
function keepServing(wanted: Target, version: VersionView, view: ScaleView): Target {
  if (view.kind === "qb") return wanted;
  const served = view.versions.some((other) => !other.isActive && other.ready > 0);
  if (!served || wanted.target > 0 || version.ready > 0) return wanted;
  return { ...wanted, target: 1, reason: "takes over from an earlier release" };
}

function earlierTargets(view: ScaleView, policy: ScalePolicy): Map<string, Target> {
  const targets = new Map<string, Target>();
  let left = policy.workersMax;
  const waiting = view.versions
    .filter((version) => !version.isActive && version.waiting > 0)
    .sort((a, b) => b.oldestWaitMs - a.oldestWaitMs);
  for (const version of waiting) {
    const needed = needFor(version, policy);
    const target = Math.min(left, needed);
    left -= target;
    const reason = `${version.waiting} jobs that this release accepted wait`;
    targets.set(version.releaseId, {
      releaseId: version.releaseId,
      target,
      reason,
      isStep: false,
    });
  }
  return targets;
}

/** Workers that all of a version's work would keep busy. */
function needFor(version: VersionView, policy: ScalePolicy): number {
  return Math.ceil((version.waiting + version.running) / policy.maxConcurrency);
}

function nothing(version: VersionView, reason: string): Target {
  return { releaseId: version.releaseId, target: 0, reason, isStep: false };
}
