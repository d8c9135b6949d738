/**
 * The loop of a queue worker: takes jobs while it has room, runs them, and listens for stops.
 *
 * Invariants:
 *   Q1  at most `maxConcurrency` functions run, those that were stopped and go on included;
 *   Q2  a job is held, as the heartbeat tells it, from the take until its result is posted;
 *   Q3  no request follows another without an answer that was waited for or a pause;
 *   Q4  after `drain()` no job is asked for, and every held one is finished and posted.
 */

import { ERRORS } from "../../contract/errors.ts";
import { deferred } from "../../kit/abort.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Service } from "../service.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { JobRun, type JobEnd, type JobRunOptions } from "./job-run.ts";
import type { JobMessage, Polled, QueueProtocol } from "./protocol.ts";

const FAILURE_BACKOFF = { baseMs: 100, factor: 2, capMs: 4000, jitter: 0.2 };
/** Servers that do not hold a poll are asked less and less often, up to once in this time, ms. */
const EMPTY_BACKOFF = { baseMs: 25, factor: 2, capMs: 1000, jitter: 0 };
/** An empty answer that took longer than this was held, ms. */
const HELD_MS = 500;
const THROTTLED_MS = 5000;
/** A function that was stopped or is over its time gets this long to notice, ms. */
const STOP_GRACE_MS = 5000;

export interface QueueLoopOptions {
  protocol: QueueProtocol;
  heartbeat: Heartbeat | undefined;
  maxConcurrency: number;
  job: Omit<JobRunOptions, "message" | "protocol">;
  log: Log;
  /** A function pays no attention to its signal: only another process gets rid of it. */
  onStuck: () => void;
  clock?: Clock;
}

export class QueueLoop implements Service {
  readonly #options: QueueLoopOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #ended = new AbortController();
  readonly #held = new Map<string, JobRun>();
  readonly #functions = new Set<Promise<void>>();
  #room = deferred<void>();
  #loops: Promise<unknown> = Promise.resolve();
  #drained: Promise<void> | undefined;

  constructor(options: QueueLoopOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  start(): void {
    this.#loops = Promise.all([
      this.#takeLoop(),
      this.#options.protocol.hasStopChannel ? this.#stopLoop() : undefined,
    ]);
  }

  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  async #drain(): Promise<void> {
    this.#closing.abort(new Error("the worker is ending"));
    this.#room.resolve();
    while (this.#functions.size > 0) await Promise.all(this.#functions);
    this.#ended.abort(new Error("the worker has ended"));
    await this.#loops;
    await this.#options.heartbeat?.close();
    this.#options.protocol.close();
  }

  async #takeLoop(): Promise<void> {
    const { protocol, maxConcurrency } = this.#options;
    const { signal } = this.#closing;
    const pace = new Pace("asking for jobs", this.#options.log, this.#clock);
    while (!signal.aborted) {
      const free = maxConcurrency - this.#functions.size;
      if (free <= 0) {
        this.#room = deferred<void>();
        await this.#room.promise; // Q1
        continue;
      }
      const started = this.#clock.elapsed();
      const polled = await protocol.take(free, { isBusy: this.#held.size > 0, signal });
      if (polled.kind === "got") for (const message of polled.value) this.#start(message);
      await pace.after(polled, this.#clock.elapsed() - started, signal); // Q3
    }
  }

  /** Goes on while jobs finish after a drain has begun: they may still be cancelled. */
  async #stopLoop(): Promise<void> {
    const { signal } = this.#ended;
    const pace = new Pace("listening for stops", this.#options.log, this.#clock);
    while (!signal.aborted) {
      const started = this.#clock.elapsed();
      const polled = await this.#options.protocol.stops(signal);
      const stopped = polled.kind === "got" ? polled.value.filter((id) => this.#stop(id)) : [];
      // A server repeats an id until the heartbeat no longer lists it: those answers come at once.
      const isNews = polled.kind !== "got" || stopped.length > 0;
      const outcome = isNews ? polled : ({ kind: "nothing" } as const);
      await pace.after(outcome, this.#clock.elapsed() - started, signal);
    }
  }

  #start(message: JobMessage): void {
    if (this.#held.has(message.id)) return;
    const { job, protocol } = this.#options;
    const run = new JobRun({ ...job, message, protocol });
    this.#held.set(run.id, run);
    this.#tellHeld(); // Q2
    const running = this.#run(run).finally(() => {
      this.#functions.delete(running);
      this.#room.resolve();
    });
    this.#functions.add(running);
  }

  async #run(run: JobRun): Promise<void> {
    const end = await run.run();
    this.#release(run);
    this.#logEnd(run, end);
    if (!run.call.signal.aborted) return;
    // A worker that is ending anyway waits for nobody who was told to stop.
    const grace = sleep(this.#clock, STOP_GRACE_MS, this.#closing.signal).then(
      () => "stuck" as const,
      () => "ending" as const,
    );
    if ((await Promise.race([run.call.settled(), grace])) !== "stuck") return;
    const { log, onStuck } = this.#options;
    log.error("a function goes on although its time is over; this worker ends to get rid of it", {
      job: run.id,
      hint: "Pass context().signal on, or check signal.aborted in loops.",
    });
    onStuck();
  }

  /** True when the job was running here until now. */
  #stop(id: string): boolean {
    const run = this.#held.get(id);
    if (run === undefined) return false;
    run.stop();
    this.#release(run);
    return true;
  }

  #release(run: JobRun): void {
    if (this.#held.get(run.id) !== run) return;
    this.#held.delete(run.id);
    this.#tellHeld();
  }

  #tellHeld(): void {
    this.#options.heartbeat?.holds(this.#held.keys());
  }

  #logEnd(run: JobRun, end: JobEnd): void {
    const { log } = this.#options;
    if (end.kind === "dropped") {
      log.info("job stopped", { ...run.call.who });
      return;
    }
    const { posted, error } = end;
    if (posted !== "accepted") log.error(`the result of a job was ${posted}`, { ...run.call.who });
    if (error === undefined || ERRORS[error.code].blame === "caller") return;
    const report = error.details?.error;
    log.error(`job failed: ${error.message}`, {
      ...run.call.who,
      ...(report === undefined ? { code: error.code } : { error: report }),
    });
  }
}

/** The pause between two polls; says once when something is wrong, and when it is well again. */
class Pace {
  readonly #doing: string;
  readonly #log: Log;
  readonly #clock: Clock;
  #failures = 0;
  #empties = 0;

  constructor(doing: string, log: Log, clock: Clock) {
    this.#doing = doing;
    this.#log = log;
    this.#clock = clock;
  }

  async after(polled: Polled<unknown>, tookMs: number, signal: AbortSignal): Promise<void> {
    const pauseMs = this.#pauseMs(polled, tookMs);
    if (pauseMs === 0 || signal.aborted) return;
    await sleep(this.#clock, pauseMs, signal).catch(() => undefined);
  }

  #pauseMs(polled: Polled<unknown>, tookMs: number): number {
    if (polled.kind === "failed") {
      if (this.#failures === 0) this.#log.warn(`${this.#doing} failed`, { reason: polled.reason });
      return backoffMs(FAILURE_BACKOFF, this.#failures++);
    }
    if (this.#failures > 0) this.#log.info(`${this.#doing} works again`);
    this.#failures = 0;
    if (polled.kind === "throttled") return THROTTLED_MS;
    if (polled.kind === "got" || tookMs >= HELD_MS) {
      this.#empties = 0;
      return 0;
    }
    return backoffMs(EMPTY_BACKOFF, this.#empties++);
  }
}
