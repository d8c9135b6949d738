/**
 * Lanes: endpoint, release, priority and whether its jobs have keys as one small number, so that a
 * job's row and its place in the queue's index stay narrow. Lanes are never renumbered, so what is cached here cannot become wrong,
 * except when the transaction that added a lane is undone: then {@link Lanes.forget} is called.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";

export interface Lane {
  id: number;
  endpointId: string;
  releaseId: string;
  lowPriority: boolean;
  /** Its jobs have keys, and take turns: see keyed-queue. */
  isKeyed: boolean;
  /** Jobs of one key that may run at once. */
  keyConcurrency: number;
}

/** What a job says about the lane it belongs into. */
export type LaneOf = Omit<Lane, "id">;

interface LaneRow {
  id: number;
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
  #isLoaded = false;

  constructor(db: DatabaseSync) {
    this.#select = db.prepare(
      "SELECT id, endpoint_id, release_id, kind, key_concurrency FROM lanes ORDER BY id",
    );
    this.#insert = db.prepare(`INSERT INTO lanes (endpoint_id, release_id, kind, key_concurrency)
      VALUES (?, ?, ?, ?) RETURNING id`);
  }

  /** The lane for a new job; added when it is the first. Call inside a transaction. */
  obtain(job: LaneOf): Lane {
    const known = this.of(job.endpointId, job.releaseId).find(
      (lane) => lane.lowPriority === job.lowPriority && lane.isKeyed === job.isKeyed,
    );
    if (known !== undefined) return known;
    const kind = (job.lowPriority ? LOW : 0) + (job.isKeyed ? KEYED : 0);
    const { endpointId, releaseId, keyConcurrency } = job;
    const row = this.#insert.get(endpointId, releaseId, kind, keyConcurrency);
    const lane = { id: Number(row?.["id"]), ...job };
    this.#remember(lane);
    return lane;
  }

  /** Lanes of an endpoint; of one release, when it is given. */
  of(endpointId: string, releaseId?: string): readonly Lane[] {
    this.#load();
    const lanes = this.#byEndpoint.get(endpointId) ?? [];
    return releaseId === undefined ? lanes : lanes.filter((lane) => lane.releaseId === releaseId);
  }

  get(id: number): Lane {
    this.#load();
    const lane = this.#byId.get(id);
    if (lane === undefined) throw new Error(`lane ${id} is missing`);
    return lane;
  }

  forget(): void {
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
