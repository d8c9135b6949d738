/**
 * Lanes: endpoint, release and priority as one small number, so that a job's row and its place in the
 * queue's index stay narrow. Lanes are never renumbered, so what is cached here cannot become wrong,
 * except when the transaction that added a lane is undone: then {@link Lanes.forget} is called.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";

export interface Lane {
  id: number;
  endpointId: string;
  releaseId: string;
  lowPriority: boolean;
}

interface LaneRow {
  id: number;
  endpoint_id: string;
  release_id: string;
  low: number;
}

export class Lanes {
  readonly #byId = new Map<number, Lane>();
  readonly #byEndpoint = new Map<string, Lane[]>();
  readonly #select: StatementSync;
  readonly #insert: StatementSync;
  #isLoaded = false;

  constructor(db: DatabaseSync) {
    this.#select = db.prepare("SELECT id, endpoint_id, release_id, low FROM lanes ORDER BY id");
    this.#insert = db.prepare(
      "INSERT INTO lanes (endpoint_id, release_id, low) VALUES (?, ?, ?) RETURNING id",
    );
  }

  /** The lane for a new job; added when it is the first. Call inside a transaction. */
  obtain(endpointId: string, releaseId: string, lowPriority: boolean): Lane {
    const known = this.of(endpointId, releaseId).find((lane) => lane.lowPriority === lowPriority);
    if (known !== undefined) return known;
    const row = this.#insert.get(endpointId, releaseId, lowPriority ? 1 : 0);
    const lane = { id: Number(row?.["id"]), endpointId, releaseId, lowPriority };
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
        lowPriority: row.low === 1,
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
