/**
 * Which worker answers a request: pure. Without affinity the least busy one; with the header
 * `X-Runpod-Worker-Id` the four modes of spec/load-balancing.md A4.
 */

export type Affinity =
  | { mode: "none" }
  | { mode: "soft" | "strict" | "strict-resume"; workerId: string };

export interface Candidate {
  id: string;
  isReady: boolean;
  /** It is on its way to being ready, or back. */
  mayBecomeReady: boolean;
  /** It runs the active version. */
  isCurrent: boolean;
  load: number;
}

export interface Bounds {
  /** Requests at which a wished-for worker counts as busy. */
  capacity: number;
  /** Requests that a worker may have at once. */
  limit: number;
}

export type Selection<C> =
  | { kind: "worker"; worker: C }
  | { kind: "wait" }
  /** Strict affinity, and the worker is not there (any more). */
  | { kind: "gone" };

/** Reads the header. Throws nothing: what is no mode is a worker id nobody has, so a soft wish. */
export function readAffinity(header: string | undefined): Affinity {
  const value = header?.trim() ?? "";
  if (value === "") return { mode: "none" };
  const [first, second] = value.split(/\s+/);
  if ((first === "strict" || first === "strict-resume") && second !== undefined) {
    return { mode: first, workerId: second };
  }
  return { mode: "soft", workerId: value };
}

export function select<C extends Candidate>(
  candidates: Iterable<C>,
  affinity: Affinity,
  { capacity, limit }: Bounds,
): Selection<C> {
  if (affinity.mode === "none") return leastBusy(candidates, limit);
  const all = [...candidates];
  const wished = all.find(({ id }) => id === affinity.workerId);
  if (wished?.isReady === true && wished.load < capacity) return { kind: "worker", worker: wished };
  if (affinity.mode === "soft") return leastBusy(all, limit);
  if (wished === undefined) return { kind: "gone" };
  return wished.isReady || wished.mayBecomeReady ? { kind: "wait" } : { kind: "gone" };
}

function leastBusy<C extends Candidate>(candidates: Iterable<C>, limit: number): Selection<C> {
  let best: C | undefined;
  for (const candidate of candidates) {
    if (!candidate.isReady || candidate.load >= limit) continue;
    if (best === undefined || isBetter(candidate, best)) best = candidate;
  }
  return best === undefined ? { kind: "wait" } : { kind: "worker", worker: best };
}

/** New requests prefer the active version; both overlap during a release. */
function isBetter(one: Candidate, other: Candidate): boolean {
  if (one.isCurrent !== other.isCurrent) return one.isCurrent;
  return one.load < other.load;
}
