/**
 * What a journal's batches say: one record for each move of a recent job. Texts of users follow their
 * record's line as they are, with their lengths (UTF-16 units) in it.
 */

import type { NewJob } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";

export type JournalRecord =
  | { kind: "submitted"; seq: number; lane: number; job: JournaledJob }
  | { kind: "taken"; seq: number; taken: Taken }
  | { kind: "ended"; seq: number; end: End };

/** What the lane does not say of a new job. */
export type JournaledJob = Pick<
  NewJob,
  "id" | "via" | "input" | "extra" | "runAt" | "createdAt"
> & {
  executionTimeoutMs: number;
  ttlMs: number;
};

export interface Taken {
  attempt: number;
  startedAt: number;
  leaseUntil: number;
  workerId: string;
}

export interface End {
  state: Exclude<JobState, "IN_QUEUE" | "IN_PROGRESS">;
  finishedAt: number;
  dropAt: number;
  output: string | null;
  error: string | null;
}

/** A text that is not there. */
const NONE = -1;

export function submittedText(seq: number, lane: number, job: NewJob): string {
  const { id, via, input, extra, runAt, createdAt, policy } = job;
  const { executionTimeoutMs, ttlMs } = policy;
  const times = `${runAt} ${createdAt} ${executionTimeoutMs} ${ttlMs}`;
  const lengths = `${id.length} ${lengthOf(extra)} ${input.length}`;
  return `S ${seq} ${lane} ${via} ${times} ${lengths}\n${id}${extra ?? ""}${input}`;
}

export function takenText(
  seq: number,
  { attempt, startedAt, leaseUntil, workerId }: Taken,
): string {
  return `T ${seq} ${attempt} ${startedAt} ${leaseUntil} ${workerId.length}\n${workerId}`;
}

export function endedText(seq: number, { state, finishedAt, dropAt, output, error }: End): string {
  return `E ${seq} ${state} ${finishedAt} ${dropAt} ${lengthOf(output)} ${lengthOf(error)}\n${output ?? ""}${error ?? ""}`;
}

/** The records of a batch. Throws when it is none of ours. */
export function* readRecords(batch: string): Generator<JournalRecord> {
  for (let at = 0; at < batch.length;) {
    const lineEnd = batch.indexOf("\n", at);
    const words = batch.slice(at, lineEnd).split(" ");
    const texts = new Texts(batch, lineEnd + 1);
    yield recordOf(words, texts);
    at = texts.at;
  }
}

/** Takes the texts behind a line, one after the other. */
class Texts {
  readonly #batch: string;
  at: number;

  constructor(batch: string, at: number) {
    this.#batch = batch;
    this.at = at;
  }

  next(length: number): string | null {
    if (length === NONE) return null;
    const from = this.at;
    this.at += length;
    return this.#batch.slice(from, this.at);
  }
}

function recordOf([kind, seq, ...words]: readonly string[], texts: Texts): JournalRecord {
  const number = (index: number): number => Number(words[index]);
  if (kind === "S") {
    const job = {
      via: words[1] as NewJob["via"],
      runAt: number(2),
      createdAt: number(3),
      executionTimeoutMs: number(4),
      ttlMs: number(5),
      id: texts.next(number(6)) ?? "",
      extra: texts.next(number(7)),
      input: texts.next(number(8)) ?? "null",
    };
    return { kind: "submitted", seq: Number(seq), lane: number(0), job };
  }
  if (kind === "T") {
    const workerId = texts.next(number(3)) ?? "";
    const taken = { attempt: number(0), startedAt: number(1), leaseUntil: number(2), workerId };
    return { kind: "taken", seq: Number(seq), taken };
  }
  if (kind !== "E") throw new Error(`the journal has a record of an unknown kind '${kind}'`);
  const end = {
    state: words[0] as End["state"],
    finishedAt: number(1),
    dropAt: number(2),
    output: texts.next(number(3)),
    error: texts.next(number(4)),
  };
  return { kind: "ended", seq: Number(seq), end };
}

function lengthOf(text: string | null): number {
  return text === null ? NONE : text.length;
}
