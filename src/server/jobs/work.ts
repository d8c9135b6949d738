/**
 * What workers do: taking jobs, and every word they say about those they hold. Each word is checked
 * against the attempt it is about; a stale one changes nothing.
 */

import { sleep, type Clock } from "../../kit/clock.ts";
import type { Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import { retryWishOf } from "../../contract/retry-wish.ts";
import type { Outcome, Store, TakenJob } from "../../contract/store.ts";
import { LEASE_MS } from "./attempts.ts";
import { splitChunk } from "./chunks.ts";
import * as failures from "./failures.ts";
import { Listeners } from "./listeners.ts";
import type { Moves } from "./moves.ts";
import type {
  ChunkWord,
  DoneBody,
  GoneCause,
  TakeRequest,
  Verdict,
  WorkerWord,
} from "./requests.ts";

export interface WorkOptions {
  redact: (endpointId: string, text: string) => string;
  store: Store;
  clock: Clock;
  moves: Moves;
  /** Spreads delays. */
  random: () => number;
}

/** Further polls of a draining worker are held this long: answered at once, they would spin. */
const DRAINED_HOLD_MS = 200;

export class Work {
  readonly onStopPod = new Listeners<string>();
  readonly onDeaf = new Listeners<string>();
  readonly #options: WorkOptions;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #moves: Moves;
  /** By worker, bytes. */
  readonly #peakMemory = new Map<string, number>();

  constructor(options: WorkOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#moves = options.moves;
  }

  async take(request: TakeRequest): Promise<TakenJob[]> {
    const { polls } = this.#moves;
    const wasDraining = polls.isDraining(request.workerId);
    const holdMs = wasDraining ? Math.min(request.holdMs, DRAINED_HOLD_MS) : request.holdMs;
    const endsAt = this.#clock.elapsed() + holdMs;
    if (wasDraining) {
      await sleep(this.#clock, holdMs, request.signal).catch(() => undefined);
      return [];
    }
    return polls.during(request, async (poll) => {
      while (!poll.isClosed) {
        poll.answerRing();
        const jobs = await this.#moves.take(request, poll);
        const left = endsAt - this.#clock.elapsed();
        if (jobs.length > 0 || left <= 0) return jobs;
        await poll.wait(left);
      }
      return [];
    });
  }

  async resume(workerId: string, held: readonly string[]): Promise<void> {
    const running = await this.#store.jobs.running({ workerId });
    const known = new Set(held);
    await this.#moves.putBack(running.filter(({ id }) => !known.has(id)));
  }

  async done(word: WorkerWord & { body: DoneBody }): Promise<Verdict> {
    const { body, workerId } = word;
    const job = this.#moves.heldAttempt(word) ?? (await this.#moves.heldJob(word));
    try {
      if (job === undefined) return "stale";
      if (body.status === "IN_PROGRESS") return await this.#progress(job, body);
      const now = this.#clock.now();
      const outcome = resultOf(job, body, now) ?? (await this.#afterError(job, body));
      const settled = await this.#moves.settle(job, outcome);
      return settled === undefined ? "stale" : "accepted";
    } finally {
      if (body.stopPod === true) {
        this.drainWorker(workerId);
        this.onStopPod.emit(workerId);
      }
    }
  }

  async chunk(word: ChunkWord): Promise<Verdict> {
    const job = await this.#moves.heldJob(word);
    if (job === undefined) return "stale";
    const pieces = splitChunk(word.output, word.outputText);
    const value = { pieces, number: word.number };
    if (!(await this.#store.jobs.appendChunk(job.id, job.attempt, value))) return "stale";
    this.#moves.chunks.ring(job.id);
    return "accepted";
  }

  async ping(workerId: string, endpointId: string, jobIds: string[] | undefined): Promise<void> {
    const { stops, attempts } = this.#moves;
    const ignored = stops.pinged(workerId, jobIds ?? []);
    if (ignored.length > 0) this.onDeaf.emit(workerId);
    const { lost, renewed, unknown } = attempts.ping(workerId, jobIds);
    await Promise.all([
      this.#store.jobs.renew(workerId, renewed, this.#clock.now() + LEASE_MS),
      ...lost.map((attempt) => this.#moves.drop(attempt)),
      ...unknown.map((id) => this.#strayJob(id, workerId, endpointId)),
    ]);
  }

  notePeakMemory(workerId: string, bytes: number): void {
    this.#peakMemory.set(workerId, bytes);
  }

  async workerGone(workerId: string, cause: GoneCause): Promise<void> {
    const moves = this.#moves;
    const peakMemoryBytes = this.#peakMemory.get(workerId);
    const known = peakMemoryBytes === undefined ? {} : { peakMemoryBytes };
    const held = await this.#store.jobs.running({ workerId });
    const endpointId = held[0]?.endpointId ?? "";
    // Those that were over before it said so may have ended it, too.
    const company = new Set([...held.map(({ id }) => id), ...moves.attempts.lapsedUnder(workerId)]);
    const logTail = cause.logTail?.map((line) => this.#options.redact(endpointId, line)) ?? [];
    const loss = failures.lossByEnd(
      workerId,
      { ...cause, ...known, logTail },
      {
        neighbours: company.size - 1,
        now: this.#clock.now(),
      },
    );
    await Promise.all(held.map((job) => moves.insist(() => moves.lose(job, loss))));
    moves.stops.forgetWorker(workerId);
    moves.attempts.forgetWorker(workerId);
    moves.polls.forget(workerId);
    this.#peakMemory.delete(workerId);
  }

  drainWorker(workerId: string): void {
    this.#moves.polls.drain(workerId);
    this.#moves.stops.release(workerId);
  }

  async #afterError(job: Job, body: DoneBody): Promise<Outcome> {
    const { failure } = body;
    const text = this.#options.redact(job.endpointId, failures.errorText(body));
    return failures.afterError(job, await this.#moves.rulesOf(job), {
      error: failures.boundedError(text),
      kind: failure === "timeout" || failure === "bad-result" ? failure : "exception",
      output: outputOf(body),
      wish: retryWishOf(body),
      now: this.#clock.now(),
      random: this.#options.random(),
    });
  }

  async #progress(job: Job, body: DoneBody): Promise<Verdict> {
    const output = body.outputText ?? JSON.stringify(body.output) ?? "null";
    const isRunning = await this.#store.jobs.progress(job.id, job.attempt, output);
    return isRunning ? "accepted" : "stale";
  }

  /** A worker lists a job that is not among its known attempts. */
  async #strayJob(id: string, workerId: string, endpointId: string): Promise<void> {
    const job = await this.#moves.heldJob({ jobId: id, workerId });
    if (job === undefined || job.endpointId !== endpointId) this.#moves.stops.add(workerId, id);
  }
}

function outputOf(body: DoneBody): string | null {
  return body.outputText ?? JSON.stringify(body.output) ?? null;
}

/** What became of a function that came to its end. Undefined: it reported an error. */
function resultOf(job: Job, body: DoneBody, now: number): Outcome | undefined {
  const output = outputOf(body);
  const maxBytes = job.via === "run" ? LIMITS.runBodyBytes : LIMITS.runsyncBodyBytes;
  if (output !== null && output.length > maxBytes / 4 && Buffer.byteLength(output) > maxBytes) {
    const error = `the output of ${Buffer.byteLength(output)} bytes is over the limit of ${maxBytes} bytes`;
    return failures.afterBadResult(job, error, now);
  }
  // Whatever is false is none, as to the platform's SDK. Source: spec/worker-protocol.md 4.2.
  return body.error ? undefined : { kind: "completed", output };
}
