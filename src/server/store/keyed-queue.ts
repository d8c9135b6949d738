/**
 * The queue of jobs with keys: who is next, so that no key gets more than its share.
 *
 *   1  A key stands in the line of a lane at most once, however many of its jobs wait.
 *   2  It stands there since its first waiting job was due or its last job was taken, whichever is
 *      later: the key that has waited longest is next, and one that was served goes to the end.
 *   3  While as many of its jobs run as its concurrency allows, it does not stand in the line at all.
 *
 * Jobs without a key stand in the same line, each for itself. Lines and counters follow every move of
 * a job, in its transaction: see {@link KeyedQueue.moved}.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { JobState } from "../../contract/states.ts";
import { REFRESH_LINES } from "./key-schema.ts";
import { COLUMNS, rowOf, type JobRow } from "./job-statements.ts";
import type { Lane } from "./lanes.ts";

/** Whose turn it is. */
export interface Turn {
  row: JobRow;
  /** Since when it stands in the line, epoch ms. */
  at: number;
}

interface Line {
  key: string;
  lane: number;
  at: number;
  turn: number;
}

interface Found {
  line: Line;
  row: JobRow;
}

/** More lines than this are not counted: no scaler wants that many workers. */
const COUNTED_LINES = 1000;

export class KeyedQueue {
  readonly #next: StatementSync;
  readonly #hasTurn: StatementSync;
  readonly #firstOf: StatementSync;
  readonly #serve: StatementSync;
  readonly #startable: StatementSync;
  readonly #setBack: readonly StatementSync[];
  readonly #follow: ReturnType<typeof prepareFollowing>;
  #turn: number;

  constructor(db: DatabaseSync) {
    this.#next = db.prepare(`SELECT key, lane, at, turn FROM key_lines
      WHERE lane = ? AND at <= ? ORDER BY at, turn LIMIT 1 OFFSET ?`);
    this.#hasTurn = db.prepare("SELECT 1 FROM key_lines WHERE lane = ? AND at <= ? LIMIT 1");
    this.#firstOf = db.prepare(`SELECT ${COLUMNS} FROM jobs
      WHERE lane = ? AND key = ? AND state = 'IN_QUEUE' AND run_at <= ? AND expires_at > ?
      ORDER BY run_at, seq LIMIT 1`);
    this.#firstOf.setReturnArrays(true);
    this.#serve = db.prepare(
      "UPDATE keys SET served_at = ?, turn = ? WHERE endpoint_id = ? AND key = ?",
    );
    this.#startable = db.prepare(`SELECT total(min(waiting, :room - running)) AS jobs, min(at) AS at
      FROM (SELECT endpoint_id, key, waiting, at FROM key_lines
        WHERE lane = :lane AND at <= :now ORDER BY at LIMIT ${COUNTED_LINES})
      JOIN keys USING (endpoint_id, key)`);
    this.#setBack = [
      db.prepare("UPDATE keys SET served_at = :now WHERE served_at > :now"),
      db.prepare(`${REFRESH_LINES} WHERE at > :now`),
    ];
    this.#follow = prepareFollowing(db);
    const last = db.prepare("SELECT max(turn) AS turn FROM keys").get();
    this.#turn = Number(last?.["turn"] ?? 0);
  }

  /** True when a job of this lane may start now; or has expired, and no sweep has come yet. */
  hasTurn(lane: Lane, now: number): boolean {
    return this.#hasTurn.get(lane.id, now) !== undefined;
  }

  /** The job whose turn it is over all these lanes; with `isTogether` one that may run beside others. */
  next(lanes: readonly Lane[], now: number, isTogether = false): Turn | undefined {
    let best: Found | undefined;
    for (const lane of lanes) {
      const found = this.#firstIn(lane, now, isTogether);
      if (found !== undefined && (best === undefined || isEarlier(found, best))) {
        best = found;
      }
    }
    return best === undefined ? undefined : { row: best.row, at: best.line.at };
  }

  /** Its key has had its turn. To be called before the job is moved. */
  serve(row: JobRow, lane: Lane, now: number): void {
    this.#turn += 1;
    this.#serve.run(now, this.#turn, lane.endpointId, row.key);
  }

  /** How many jobs of a lane may start now, and since when the first could have. */
  startable(lane: Lane, now: number): { jobs: number; oldestAt: number } {
    const found = this.#startable.get({ lane: lane.id, now, room: lane.keyConcurrency });
    return { jobs: Number(found?.["jobs"] ?? 0), oldestAt: Number(found?.["at"] ?? now) };
  }

  /** The clock may have been set back while no server ran: no key waits until it is there again. */
  believe(now: number): void {
    for (const statement of this.#setBack) statement.run({ now });
  }

  /** A job with a key has moved, or is new. To be called after the move, in its transaction. */
  moved(job: { lane: Lane; key: string }, from: JobState | undefined, to: JobState): void {
    const { lane, key } = job;
    const at = { endpoint: lane.endpointId, key };
    const here = { ...at, lane: lane.id };
    const by = (state: JobState): number => Number(to === state) - Number(from === state);
    const sql = this.#follow;
    sql.openKey.run(at);
    sql.openLine.run(here);
    sql.countRunning.run({ ...at, by: by("IN_PROGRESS") });
    sql.countWaiting.run({ ...here, by: by("IN_QUEUE") });
    sql.refresh.run(at);
    sql.closeLine.run(here);
    sql.closeKey.run(at);
  }

  #firstIn(lane: Lane, now: number, isTogether: boolean): Found | undefined {
    // A line whose first jobs have expired may have nothing due; a sweep will put it in order.
    for (let skipped = 0; ; skipped++) {
      const line = this.#next.get(lane.id, now, skipped) as Line | undefined;
      if (line === undefined) return undefined;
      const row = this.#firstOf.get(lane.id, line.key, now, now) as unknown as
        | unknown[]
        | undefined;
      const found = row === undefined ? undefined : { line, row: rowOf(row) };
      const fits = found !== undefined && !(isTogether && found.row.alone_since !== null);
      if (fits) return found;
    }
  }
}

function isEarlier(a: Found, b: Found): boolean {
  const difference =
    a.line.at - b.line.at ||
    a.line.turn - b.line.turn ||
    a.row.run_at - b.row.run_at ||
    a.row.seq - b.row.seq;
  return difference < 0;
}

/** Rows go when nothing of the key waits or runs: there are never more of them than open jobs. */
function prepareFollowing(db: DatabaseSync) {
  const sql = (text: string): StatementSync => db.prepare(text);
  const ofKey = "endpoint_id = :endpoint AND key = :key";
  return {
    openKey: sql("INSERT OR IGNORE INTO keys (endpoint_id, key) VALUES (:endpoint, :key)"),
    openLine: sql(`INSERT OR IGNORE INTO key_lines (endpoint_id, key, lane)
      VALUES (:endpoint, :key, :lane)`),
    countRunning: sql(`UPDATE keys SET running = running + :by WHERE ${ofKey}`),
    countWaiting: sql(
      `UPDATE key_lines SET waiting = waiting + :by WHERE ${ofKey} AND lane = :lane`,
    ),
    refresh: sql(`${REFRESH_LINES} WHERE ${ofKey}`),
    closeLine: sql(`DELETE FROM key_lines WHERE ${ofKey} AND lane = :lane AND waiting = 0`),
    closeKey: sql(`DELETE FROM keys WHERE ${ofKey} AND running = 0
      AND NOT EXISTS (SELECT 1 FROM key_lines WHERE ${ofKey})`),
  };
}
