/** Keys in the reference: how many of a key's jobs run, and whose turn it is. */

import type { ModelJob } from "./reference.ts";

/** When a key was last served, and in which order. */
interface Served {
  at: number;
  turn: number;
}

/** After this a job that has to run alone keeps others from busy workers. */
const ALONE_WAIT_MS = 10_000;
const NEVER: Served = { at: 0, turn: 0 };

interface Line {
  at: number;
  turn: number;
  key: string;
  job: ModelJob;
}

export class Turns {
  readonly #served = new Map<string, Served>();
  #turns = 0;

  /** Up to `limit` of these queued jobs of one endpoint, in the order in which they have to start. */
  next(
    { queued, running }: { queued: readonly ModelJob[]; running: readonly ModelJob[] },
    {
      now,
      limit,
      concurrency,
      ...rest
    }: { now: number; limit: number; concurrency: number; isIdle: boolean; isTogether?: boolean },
  ): ModelJob[] {
    const { isIdle, isTogether = false } = rest;
    const left = new Set(queued);
    const busy = new Map<string, number>();
    for (const { tenant } of running) if (tenant !== null) count(busy, tenant);
    const served = new Map(this.#served);
    let turns = this.#turns;
    const chosen: ModelJob[] = [];
    while (chosen.length < limit) {
      const plain = [...left].filter(
        (job) => job.tenant === null && isDue(job, now) && !(isTogether && job.aloneSince !== null),
      );
      const [first] = plain.sort(byAge);
      const open = [...left].filter(
        ({ tenant }) => tenant !== null && (busy.get(tenant) ?? 0) < concurrency,
      );
      const line = firstLine(open, served, { now, isTogether });
      const isPlain = first !== undefined && (line === undefined || first.runAt <= line.at);
      const job = isPlain ? first : line?.job;
      if (job === undefined) return chosen;
      const { aloneSince } = job;
      if (aloneSince !== null && isIdle && chosen.length === 0) return [job];
      if (aloneSince !== null) {
        if (isIdle || now - aloneSince >= ALONE_WAIT_MS || chosen.length > 0) return chosen;
        const again = { now, limit, concurrency, isIdle, isTogether: true };
        return this.next({ queued, running }, again);
      }
      chosen.push(job);
      left.delete(job);
      if (job.tenant === null) continue;
      count(busy, job.tenant);
      served.set(placeOf(job), { at: now, turn: ++turns });
    }
    return chosen;
  }

  /** A job of this key has been taken. */
  serve(job: ModelJob, now: number): void {
    if (job.tenant !== null) this.#served.set(placeOf(job), { at: now, turn: ++this.#turns });
  }

  /** Nothing of this key waits or runs any more. */
  forget(job: ModelJob): void {
    this.#served.delete(placeOf(job));
  }

  /** The server has started again, perhaps with an earlier time. */
  restart(now: number): void {
    for (const [place, { at, turn }] of this.#served) {
      this.#served.set(place, { at: Math.min(at, now), turn });
    }
  }
}

/** Jobs of low priority stand in lines of their own. */
function firstLine(
  open: readonly ModelJob[],
  served: ReadonlyMap<string, Served>,
  { now, isTogether }: { now: number; isTogether: boolean },
): Line | undefined {
  const lines: Line[] = [];
  for (const isLow of [false, true]) {
    const jobs = open.filter(({ lowPriority }) => lowPriority === isLow).sort(byAge);
    const ofLane: Line[] = [];
    for (const key of new Set(jobs.map(({ tenant }) => tenant ?? ""))) {
      const own = jobs.filter(({ tenant }) => tenant === key);
      const job = own.find((one) => isDue(one, now));
      const last = served.get(placeOf(own[0] as ModelJob)) ?? NEVER;
      const at = Math.max(own[0]?.runAt ?? 0, last.at);
      if (isTogether && job !== undefined && job.aloneSince !== null) continue;
      if (job !== undefined && at <= now) ofLane.push({ at, turn: last.turn, key, job });
    }
    ofLane.sort((a, b) => a.at - b.at || a.turn - b.turn || (a.key < b.key ? -1 : 1));
    lines.push(...ofLane.slice(0, 1));
  }
  return lines.sort((a, b) => a.at - b.at || a.turn - b.turn || byAge(a.job, b.job))[0];
}

function isDue({ runAt, expiresAt }: ModelJob, now: number): boolean {
  return runAt <= now && expiresAt > now;
}

function byAge(a: ModelJob, b: ModelJob): number {
  return a.runAt - b.runAt || a.order - b.order;
}

function placeOf({ endpoint, tenant }: ModelJob): string {
  return `${endpoint} ${tenant}`;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
