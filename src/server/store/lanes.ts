/**
 * Lanes: endpoint, release, priority and whether its jobs have keys as one small number, so that a
 * job's row and its place in the queue's index stay narrow. Lanes are never renumbered, so what is cached here cannot become wrong,
 * except when the transaction that added a lane is undone: then {@link Lanes.forget} is called.
 *
 * A lane counts its jobs, so that asking for the length of a queue costs the same for ten jobs and for a
 * million. Moves are added up during a transaction and written once, as its last step: triggers, which
 * wrote for every move, took more time than everything else that was done with a job.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { JobState } from "../../contract/states.ts";

export interface Lane {
  id: number;
  endpointId: string;
  releaseId: string;
  lowPriority: boolean;
  /** Its jobs have keys, and take turns: see keyed-queue. */
  isKeyed: boolean;
  /** Jobs of one key that may run at once. */
  keyConcurrency: number;
  /** Queued jobs in the database; those that the running transaction has moved are counted. */
  waiting: number;
}

/** What a job says about the lane it belongs into. */
export type LaneOf = Omit<Lane, "id" | "waiting">;

/** A lane's numbers. */
export interface LaneCounters {
  // Records there are now, by state.
  waiting: number;
  running: number;
  kept_completed: number;
  kept_failed: number;
  kept_cancelled: number;
  kept_timed_out: number;
  // Moves since the endpoint was made.
  completed: number;
  failed: number;
  retried: number;
}

/** Undefined: the job was not there before, or is not afterwards. */
export interface Move {
  from?: JobState | undefined;
  to?: JobState | undefined;
  /** Another attempt, because one failed or because somebody asked. */
  isRetry?: boolean;
}

/** The counter of records in a state. */
export const COUNTER_OF: Readonly<Record<JobState, keyof LaneCounters>> = {
  IN_QUEUE: "waiting",
  IN_PROGRESS: "running",
  COMPLETED: "kept_completed",
  FAILED: "kept_failed",
  CANCELLED: "kept_cancelled",
  TIMED_OUT: "kept_timed_out",
};

export const COUNTERS = [
  "waiting",
  "running",
  "kept_completed",
  "kept_failed",
  "kept_cancelled",
  "kept_timed_out",
  "completed",
  "failed",
  "retried",
] as const satisfies readonly (keyof LaneCounters)[];

interface LaneRow {
  id: number;
  waiting: number;
  endpoint_id: string;
  release_id: string;
  kind: number;
  key_concurrency: number;
}

/** Bits of `kind`. */
const LOW = 1;
const KEYED = 2;

export class Lanes {
  readonly #byId = new Map<number, Lane>();
  readonly #byEndpoint = new Map<string, Lane[]>();
  readonly #select: StatementSync;
  readonly #insert: StatementSync;
  readonly #count: StatementSync;
  /** What the transaction has moved so far, by lane. */
  readonly #moved = new Map<number, LaneCounters>();
  #isLoaded = false;
  #hasNew = false;

  constructor(db: DatabaseSync) {
    this.#select = db.prepare(
      "SELECT id, endpoint_id, release_id, kind, key_concurrency, waiting FROM lanes ORDER BY id",
    );
    this.#insert = db.prepare(`INSERT INTO lanes (endpoint_id, release_id, kind, key_concurrency)
      VALUES (?, ?, ?, ?) RETURNING id`);
    this.#count = db.prepare(
      `UPDATE lanes SET ${COUNTERS.map((name) => `${name} = ${name} + ?`).join(", ")} WHERE id = ?`,
    );
  }

  /** The lane for a new job; added when it is the first. Call inside a transaction. */
  obtain(job: LaneOf): Lane {
    const known = this.#known(job);
    if (known !== undefined) return known;
    const kind = (job.lowPriority ? LOW : 0) + (job.isKeyed ? KEYED : 0);
    const { endpointId, releaseId, keyConcurrency } = job;
    const row = this.#insert.get(endpointId, releaseId, kind, keyConcurrency);
    const lane = { id: Number(row?.["id"]), ...job, waiting: 0 };
    this.#remember(lane);
    this.#hasNew = true;
    return lane;
  }

  /** The lane for a new job; undefined while it is not in the database for good. */
  find(job: LaneOf): Lane | undefined {
    return this.#hasNew ? undefined : this.#known(job);
  }

  #known({ endpointId, releaseId, lowPriority, isKeyed }: LaneOf): Lane | undefined {
    return this.of(endpointId, releaseId).find(
      (lane) => lane.lowPriority === lowPriority && lane.isKeyed === isKeyed,
    );
  }

  /** Lanes of an endpoint; of one release, when it is given. */
  of(endpointId: string, releaseId?: string): readonly Lane[] {
    this.#load();
    const lanes = this.#byEndpoint.get(endpointId) ?? [];
    return releaseId === undefined ? lanes : lanes.filter((lane) => lane.releaseId === releaseId);
  }

  has(id: number): boolean {
    this.#load();
    return this.#byId.has(id);
  }

  get(id: number): Lane {
    this.#load();
    const lane = this.#byId.get(id);
    if (lane === undefined) throw new Error(`lane ${id} is missing`);
    return lane;
  }

  /** Counts a job's move. Call inside the transaction that makes it. */
  moved(lane: number, move: Move): void {
    let counters = this.#moved.get(lane);
    if (counters === undefined) this.#moved.set(lane, (counters = noMoves()));
    countMove(counters, move);
    const { from, to } = move;
    if (from === "IN_QUEUE") this.get(lane).waiting--;
    if (to === "IN_QUEUE") this.get(lane).waiting++;
  }

  /** Writes what was counted. The last step of a transaction. */
  writeMoves(): void {
    for (const [lane, counters] of this.#moved) {
      const numbers = COUNTERS.map((name) => counters[name]);
      this.#count.run(...numbers, lane);
    }
    this.#moved.clear();
  }

  /** The transaction is in the database. */
  committed(): void {
    this.#hasNew = false;
  }

  /** The transaction was undone. */
  forget(): void {
    this.#moved.clear();
    this.#byId.clear();
    this.#byEndpoint.clear();
    this.#isLoaded = false;
  }

  #load(): void {
    if (this.#isLoaded) return;
    for (const row of this.#select.all() as unknown as LaneRow[]) {
      this.#remember({
        id: row.id,
        endpointId: row.endpoint_id,
        releaseId: row.release_id,
        lowPriority: (row.kind & LOW) !== 0,
        isKeyed: (row.kind & KEYED) !== 0,
        keyConcurrency: row.key_concurrency,
        waiting: row.waiting,
      });
    }
    this.#isLoaded = true;
  }

  #remember(lane: Lane): void {
    this.#byId.set(lane.id, lane);
    const lanes = this.#byEndpoint.get(lane.endpointId);
    if (lanes === undefined) this.#byEndpoint.set(lane.endpointId, [lane]);
    else lanes.push(lane);
  }
}

function countMove(counters: LaneCounters, { from, to, isRetry }: Move): void {
  if (from !== undefined) counters[COUNTER_OF[from]]--;
  if (to !== undefined) counters[COUNTER_OF[to]]++;
  if (to === "COMPLETED") counters.completed++;
  if (to === "FAILED" || to === "TIMED_OUT") counters.failed++;
  if (isRetry === true) counters.retried++;
}

function noMoves(): LaneCounters {
  return {
    waiting: 0,
    running: 0,
    kept_completed: 0,
    kept_failed: 0,
    kept_cancelled: 0,
    kept_timed_out: 0,
    completed: 0,
    failed: 0,
    retried: 0,
  };
}
