/** Recovery: what the journal has of recent jobs when a store is opened. */

import type { DatabaseSync } from "node:sqlite";
import { readRecords, type JournalRecord } from "./journal-records.ts";
import type { Journal } from "./journal.ts";
import type { Lanes } from "./lanes.ts";
import { queuedJob, type RecentJob } from "./recent-jobs.ts";

export interface RecoveryOptions {
  db: DatabaseSync;
  lanes: Lanes;
  journal: Journal;
}

/**
 * The jobs of the generation that the database does not hold, and of the one behind it: the disk may have
 * lost the checkpoint between them.
 */
export function recover({ db, lanes, journal }: RecoveryOptions): RecentJob[] {
  const jobs = new Map<number, RecentJob>();
  for (const generation of [journal.generation, journal.generation + 1]) {
    const before = new Set(jobs.keys());
    for (const { text, isOpening } of journal.read(generation)) {
      for (const record of readRecords(text)) {
        // A checkpoint that came to nothing has left its opening, and the generation before went on.
        if (!(isOpening && before.has(record.seq))) apply(record, jobs, lanes);
      }
    }
  }
  const isStored = db.prepare("SELECT 1 FROM jobs WHERE id = ?");
  return [...jobs.values()].filter(({ job }) => isStored.get(job.id) === undefined);
}

function apply(record: JournalRecord, jobs: Map<number, RecentJob>, lanes: Lanes): void {
  const { kind, seq } = record;
  if (kind === "submitted") {
    // A `relaxed` store may lose the database's newest transactions, and a lane with them.
    if (lanes.has(record.lane)) jobs.set(seq, submitted(record, lanes));
    return;
  }
  const recent = jobs.get(seq);
  if (recent === undefined) return;
  recent.job =
    kind === "ended"
      ? { ...recent.job, ...record.end, leaseUntil: null }
      : { ...recent.job, ...record.taken, state: "IN_PROGRESS" };
}

function submitted(
  { seq, lane, job }: JournalRecord & { kind: "submitted" },
  lanes: Lanes,
): RecentJob {
  const { executionTimeoutMs, ttlMs, ...rest } = job;
  const { endpointId, releaseId, lowPriority, keyConcurrency } = lanes.get(lane);
  const policy = { executionTimeoutMs, ttlMs, lowPriority };
  const plain = { webhook: null, idempotencyKey: null, key: null };
  const accepted = { ...rest, ...plain, endpointId, releaseId, keyConcurrency, policy };
  return { seq, runAt: job.runAt, lane, job: queuedJob(accepted) };
}
