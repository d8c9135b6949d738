/** Taking: which jobs a worker gets, out of the recent ones and those of the database. */

import { ALONE_WAIT_MS, type JobStore, type TakenJob } from "../../contract/store.ts";
import { DATABASE, type Committer } from "./commit.ts";
import type { JobMoves } from "./job-moves.ts";
import { rowOf, type JobRow, type Statements } from "./job-statements.ts";
import type { KeyedQueue } from "./keyed-queue.ts";
import type { Lane, Lanes } from "./lanes.ts";
import { isBefore, type Position, type RecentJobs } from "./recent-jobs.ts";

type TakeRequest = Parameters<JobStore["take"]>[0];

/**
 * One take hands out about so many bytes at most, but at least one job. They become one text, which has to
 * fit into memory, and into the longest string there can be; who has room for more asks again at once.
 */
const TAKE_BYTES = 32 * 1024 * 1024;

export interface JobTakesOptions {
  sql: Statements;
  committer: Committer;
  lanes: Lanes;
  keyed: KeyedQueue;
  recent: RecentJobs;
  moves: JobMoves;
}

/** Where a job's row is. */
export interface Place {
  seq: number;
  lane: number;
}

export class JobTakes {
  readonly #sql: Statements;
  readonly #committer: Committer;
  readonly #lanes: Lanes;
  readonly #keyed: KeyedQueue;
  readonly #recent: RecentJobs;
  readonly #moves: JobMoves;
  readonly #places = new WeakMap<TakenJob, Place>();

  constructor(options: JobTakesOptions) {
    this.#sql = options.sql;
    this.#committer = options.committer;
    this.#lanes = options.lanes;
    this.#keyed = options.keyed;
    this.#recent = options.recent;
    this.#moves = options.moves;
  }

  /** The row of a taken job whose end changes only what it names, and of which nothing has to be fetched. */
  placeOf(taken: TakenJob | undefined): Place | undefined {
    return taken === undefined ? undefined : this.#places.get(taken);
  }

  take(request: TakeRequest): Promise<TakenJob[]> {
    // With nothing on its way to the disk, an empty queue is known to be empty without a transaction.
    if (this.#committer.isIdle && !this.#hasDue(request)) return Promise.resolve([]);
    return this.#committer.commit(() => this.#take(request), {
      early: request.isLocal === true ? "written" : undefined,
      recent: () => this.#takeRecent(request),
      concernsRecent: () => this.#isForRecent(request),
    });
  }

  /** The first job is a recent one, or all have to be looked at. */
  #isForRecent(request: TakeRequest): boolean {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    const first = this.#recent.first(lanes);
    if (first === undefined) return false;
    if (this.#needsAll(request, lanes)) return true;
    const stored = this.#firstDue(lanes, request.now);
    return stored === undefined || isBefore(first, stored);
  }

  /** When the first job is a recent one. */
  #takeRecent(request: TakeRequest): TakenJob[] | typeof DATABASE {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    if (lanes.every(({ waiting }) => waiting === 0)) {
      return this.#recent.take(lanes, request) ?? DATABASE;
    }
    if (!this.#recent.hasWaiting(lanes) || this.#needsAll(request, lanes)) return DATABASE;
    return (
      this.#recent.take(lanes, { ...request, until: this.#firstDue(lanes, request.now) }) ??
      DATABASE
    );
  }

  /**
   * All jobs have to be in one place when keys have turns, and when a job runs alone. A worker of this
   * machine asks again at once; others are to get as many as there are.
   */
  #needsAll({ isLocal = false }: TakeRequest, lanes: readonly Lane[]): boolean {
    return (
      !isLocal ||
      lanes.some(({ isKeyed, waiting }) => isKeyed && waiting > 0) ||
      this.#sql.hasAlone.get() !== undefined
    );
  }

  #firstDue(lanes: readonly Lane[], now: number): Position | undefined {
    let first: Position | undefined;
    for (const { id, waiting } of lanes) {
      const row = waiting === 0 ? undefined : this.#sql.firstDue.get(id, now, now);
      const position = row && { runAt: Number(row["run_at"]), seq: Number(row["seq"]) };
      if (position !== undefined && (first === undefined || isBefore(position, first))) {
        first = position;
      }
    }
    return first;
  }

  #take(request: TakeRequest): TakenJob[] {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    if (lanes.some(({ isKeyed }) => isKeyed)) return this.#takeInTurn(request, lanes);
    const until = this.#recent.first(lanes);
    const due = this.#dueJobs(request, lanes);
    // The next take brings the recent ones, and those behind them.
    const rows = until === undefined ? due : due.filter((row) => isBefore(positionOf(row), until));
    if (rows.some(runsAlone)) return this.#takeInTurn(request, lanes);
    return this.#portion(rows).map((row) => this.#takeOne(request, row));
  }

  /**
   * Jobs without a key stand in one line with the keys of the others: see keyed-queue. One that runs
   * alone ends what a worker is given, or is passed over.
   */
  #takeInTurn(request: TakeRequest, lanes: readonly Lane[], isTogether = false): TakenJob[] {
    const { now, limit, isIdle = true } = request;
    const keyed = lanes.filter(({ isKeyed }) => isKeyed);
    const plainLanes = lanes.filter((lane) => !lane.isKeyed);
    const plain = this.#dueJobs(request, plainLanes, isTogether);
    const taken: TakenJob[] = [];
    let bytes = 0;
    while (taken.length < limit) {
      const turn = this.#keyed.next(keyed, now, isTogether);
      const [first] = plain;
      const isPlain = first !== undefined && (turn === undefined || first.run_at <= turn.at);
      const row = isPlain ? first : turn?.row;
      if (row === undefined) return taken;
      bytes += this.#bytesOf(row);
      if (taken.length > 0 && bytes > TAKE_BYTES) return taken;
      if (runsAlone(row) && !(isIdle && taken.length === 0)) {
        const waitsLong = now - (row.alone_since ?? now) >= ALONE_WAIT_MS;
        if (isIdle || waitsLong || taken.length > 0) return taken;
        return this.#takeInTurn(request, lanes, true);
      }
      if (isPlain) plain.shift();
      else this.#keyed.serve(row, this.#lanes.get(row.lane), now);
      taken.push(this.#takeOne(request, row));
      if (runsAlone(row)) return taken;
    }
    return taken;
  }

  /** The first of these rows, as many as one take hands out. */
  #portion(rows: readonly JobRow[]): readonly JobRow[] {
    if (rows.length < 2) return rows;
    let bytes = 0;
    const end = rows.findIndex((row) => (bytes += this.#bytesOf(row)) > TAKE_BYTES);
    return end === -1 ? rows : rows.slice(0, Math.max(1, end));
  }

  /** What a worker is sent of it, about. */
  #bytesOf({ seq, input, extra }: JobRow): number {
    const large = input === null ? Number(this.#sql.largeInputBytes.get(seq)?.["bytes"] ?? 0) : 0;
    return large + (input?.length ?? 0) + (extra?.length ?? 0);
  }

  /** The row was read in the same transaction, so what becomes of it is known. */
  #takeOne({ workerId, now, leaseUntil }: TakeRequest, row: JobRow): TakenJob {
    const attempt = row.attempt + 1;
    this.#sql.take.run(attempt, workerId, now, leaseUntil, row.seq);
    const change = { attempt, worker_id: workerId, started_at: now, lease_until: leaseUntil };
    Object.assign(row, change, { state: "IN_PROGRESS", output: null });
    const taken = this.#moves.movedRow(row, { from: "IN_QUEUE" }) as TakenJob;
    const { seq, lane } = row;
    if (row.idempotency_key === null && row.input !== null) this.#places.set(taken, { seq, lane });
    return taken;
  }

  #hasDue({ endpointId, releaseId, now }: TakeRequest): boolean {
    const lanes = this.#lanes.of(endpointId, releaseId);
    return lanes.some((lane) => {
      if (this.#recent.hasWaiting([lane])) return true;
      if (lane.waiting === 0) return false;
      return lane.isKeyed
        ? this.#keyed.hasTurn(lane, now)
        : this.#sql.hasDue.get(lane.id, now, now) !== undefined;
    });
  }

  /** The oldest due jobs over these lanes; with `isTogether` only those that may run beside others. */
  #dueJobs({ now, limit }: TakeRequest, lanes: readonly Lane[], isTogether = false): JobRow[] {
    const statement = isTogether ? this.#sql.dueTogether : this.#sql.due;
    const due = lanes.flatMap(({ id }) =>
      (statement.all(id, now, now, limit) as unknown as unknown[][]).map(rowOf),
    );
    if (lanes.length < 2) return due;
    return due.sort((a, b) => a.run_at - b.run_at || a.seq - b.seq).slice(0, limit);
  }
}

function positionOf({ run_at: runAt, seq }: JobRow): Position {
  return { runAt, seq };
}

function runsAlone(row: JobRow): boolean {
  return row.alone_since !== null;
}
