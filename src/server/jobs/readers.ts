/** Those who wait for a job: for its end, or for the next chunk of its stream. */

import type { Clock } from "../../kit/clock.ts";
import type { Job } from "../../contract/job.ts";
import { isFinal } from "../../contract/states.ts";
import type { Store } from "../../contract/store.ts";
import type { Bell } from "./bells.ts";
import type { Moves } from "./moves.ts";
import type { StreamAnswer, StreamPlace } from "./requests.ts";

/** How long somebody waits; `signal`: until it is in vain. */
export interface Patience {
  waitMs: number;
  signal?: AbortSignal | undefined;
}

/** Chunks in one answer of a stream. */
const CHUNKS_AT_ONCE = 100;
/** The stream of a cancelled job answers this long; then 404, the only end the Python client knows. */
const CANCELLED_STREAM_MS = 10_000;
/** Who waits looks again this often: control removes endpoints, and their jobs, behind this room's back. */
export const LOOK_AGAIN_MS = 5000;

export class Readers {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #moves: Moves;

  constructor(options: { store: Store; clock: Clock; moves: Moves }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#moves = options.moves;
  }

  /** The job once it is final, or as it is when the wait ends first. */
  async waitFinal(id: string, patience: Patience): Promise<Job | undefined> {
    const bell = this.#moves.ends.hang(id, patience.waitMs);
    return this.#waiting(bell, patience, async (isOver) => {
      const job = bell.value ?? (await this.#moves.get(id));
      return job === undefined || isFinal(job.state) || isOver() ? { answer: job } : undefined;
    });
  }

  /** Chunks that nobody has read yet; waits for one, or for the end. Undefined for an unknown job. */
  stream(id: string, patience: Patience): Promise<StreamAnswer | undefined> {
    return this.#waiting(this.#moves.chunks.hang(id), patience, async (isOver) => {
      // The state first: a final one then has every chunk behind it.
      const job = await this.#moves.get(id);
      if (job === undefined || this.#isLongCancelled(job)) return { answer: undefined };
      const chunks = await this.#store.jobs.drainChunks(id, CHUNKS_AT_ONCE);
      if (chunks.length === 0 && !isFinal(job.state) && !isOver()) return undefined;
      return { answer: await this.#streamAnswer(job, chunks) };
    });
  }

  /** Chunks of the running or last attempt behind a reader's place, for any number of readers. */
  read(
    id: string,
    place: StreamPlace,
    patience: Patience,
  ): Promise<{ job: Job; chunks: { position: number; chunk: string }[] } | undefined> {
    return this.#waiting(this.#moves.chunks.hang(id), patience, async (isOver) => {
      // The state first: a final one then has every chunk behind it.
      const job = this.#moves.isClosed ? undefined : await this.#moves.get(id);
      if (job === undefined) return { answer: undefined };
      const after = place.attempt === job.attempt ? place.position : 0;
      const { attempt } = job;
      const request = { jobId: id, attempt, after, limit: CHUNKS_AT_ONCE };
      const chunks = await this.#store.jobs.readChunks(request);
      if (chunks.length === 0 && !isFinal(job.state) && !isOver()) return undefined;
      return { answer: { job, chunks } };
    });
  }

  /** Looks until there is an answer, whenever the bell rings. Closes the bell. */
  async #waiting<T>(
    bell: Bell<unknown>,
    { waitMs, signal }: Patience,
    look: (isOver: () => boolean) => Promise<{ answer: T } | undefined>,
  ): Promise<T> {
    const endsAt = this.#clock.elapsed() + waitMs;
    const left = (): number => endsAt - this.#clock.elapsed();
    const isOver = (): boolean => left() <= 0 || signal?.aborted === true || this.#moves.isClosed;
    try {
      for (;;) {
        const found = await look(isOver);
        if (found !== undefined) return found.answer;
        await bell.wait(Math.min(left(), LOOK_AGAIN_MS), signal);
      }
    } finally {
      bell.close();
    }
  }

  async #streamAnswer(job: Job, chunks: readonly string[]): Promise<StreamAnswer> {
    // Clients stop at a final status, so it may only come with the last chunk.
    const mayHaveMore = isFinal(job.state) && chunks.length > 0;
    const more = mayHaveMore ? await this.#store.jobs.drainChunks(job.id, 1) : [];
    return {
      status: more.length > 0 ? "IN_PROGRESS" : job.state,
      chunks: [...chunks, ...more],
    };
  }

  #isLongCancelled(job: Job): boolean {
    const since = this.#clock.now() - (job.finishedAt ?? this.#clock.now());
    return job.state === "CANCELLED" && since > CANCELLED_STREAM_MS;
  }
}
