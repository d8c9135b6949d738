/**
 * The three state machines. Each is a table of legal moves; the store performs a move in one
 * guarded statement, and nothing else changes a state.
 *
 *   job      IN_QUEUE --take--> IN_PROGRESS --finish--> COMPLETED | FAILED
 *               ^  |                |  |
 *               |  |   retry/lost   |  +--cancel/ttl--> CANCELLED | TIMED_OUT
 *               |  +--cancel/ttl----+-----------------> CANCELLED | TIMED_OUT
 *               +-------------------+
 *            FAILED | TIMED_OUT --retry by the user--> IN_QUEUE
 *
 *   worker   INITIALIZING --> IDLE <--> RUNNING --> DRAINING --> STOPPED
 *                 |             |          |            |
 *                 +--> UNHEALTHY <---------+            +--> (killed) STOPPED
 *
 *   release  PENDING --> ACTIVE --> SUPERSEDED --> ACTIVE (rollback)
 *               |          |
 *               +-> FAILED +--> REMOVED
 */

export const JOB_STATES = [
  "IN_QUEUE",
  "IN_PROGRESS",
  "COMPLETED",
  "FAILED",
  "CANCELLED",
  "TIMED_OUT",
] as const;
export type JobState = (typeof JOB_STATES)[number];

/** The jobs that may run again when somebody asks for it. */
export const FAILED_STATES = ["FAILED", "TIMED_OUT"] as const satisfies readonly JobState[];
export type FailedState = (typeof FAILED_STATES)[number];

export const WORKER_STATES = [
  "INITIALIZING",
  "IDLE",
  "RUNNING",
  "THROTTLED",
  "UNHEALTHY",
  "DRAINING",
  "STOPPED",
] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

export const RELEASE_STATES = ["PENDING", "ACTIVE", "SUPERSEDED", "FAILED", "REMOVED"] as const;
export type ReleaseState = (typeof RELEASE_STATES)[number];

export const JOB_MOVES: Record<JobState, readonly JobState[]> = {
  IN_QUEUE: ["IN_PROGRESS", "CANCELLED", "TIMED_OUT", "FAILED"],
  IN_PROGRESS: ["COMPLETED", "FAILED", "IN_QUEUE", "CANCELLED", "TIMED_OUT"],
  COMPLETED: [],
  FAILED: ["IN_QUEUE"],
  CANCELLED: [],
  TIMED_OUT: ["IN_QUEUE"],
};

export const WORKER_MOVES: Record<WorkerState, readonly WorkerState[]> = {
  INITIALIZING: ["IDLE", "RUNNING", "UNHEALTHY", "THROTTLED", "DRAINING", "STOPPED"],
  IDLE: ["RUNNING", "UNHEALTHY", "DRAINING", "STOPPED"],
  RUNNING: ["IDLE", "UNHEALTHY", "DRAINING", "STOPPED"],
  THROTTLED: ["INITIALIZING", "STOPPED"],
  UNHEALTHY: ["IDLE", "DRAINING", "STOPPED"],
  DRAINING: ["STOPPED"],
  STOPPED: [],
};

export const RELEASE_MOVES: Record<ReleaseState, readonly ReleaseState[]> = {
  PENDING: ["ACTIVE", "FAILED", "REMOVED"],
  ACTIVE: ["SUPERSEDED", "REMOVED"],
  SUPERSEDED: ["ACTIVE", "REMOVED"],
  FAILED: ["REMOVED"],
  REMOVED: [],
};

export function isFinal(state: JobState): boolean {
  return state !== "IN_QUEUE" && state !== "IN_PROGRESS";
}

export function mayMove<S extends string>(moves: Record<S, readonly S[]>, from: S, to: S): boolean {
  return moves[from].includes(to);
}
