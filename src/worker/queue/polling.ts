/**
 * Jobs over HTTP: two loops of long polls, one for jobs and one for stops. It works against every
 * server of the worker protocol.
 *
 * No request follows another without an answer that was waited for or a pause.
 */

import { deferred } from "../../kit/abort.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { JobChannel, JobReceiver, Post, Posted } from "./channel.ts";
import type { Polled, QueueProtocol } from "./protocol.ts";

const FAILURE_BACKOFF = { baseMs: 100, factor: 2, capMs: 4000, jitter: 0.2 };
/** Servers that do not hold a poll are asked less and less often, up to once in this time, ms. */
const EMPTY_BACKOFF = { baseMs: 25, factor: 2, capMs: 1000, jitter: 0 };
/** An empty answer that took longer than this was held, ms. */
const HELD_MS = 500;
const THROTTLED_MS = 5000;

export interface PollingOptions {
  protocol: QueueProtocol;
  log: Log;
  clock?: Clock;
}

export class PollingChannel implements JobChannel {
  readonly #options: PollingOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #ended = new AbortController();
  #room = deferred<void>();
  #taking: Promise<void> = Promise.resolve();
  #stopping: Promise<void> = Promise.resolve();

  constructor(options: PollingOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  start(receiver: JobReceiver): void {
    this.#taking = this.#takeLoop(receiver);
    if (this.#options.protocol.hasStopChannel) this.#stopping = this.#stopLoop(receiver);
  }

  hasRoom(): void {
    this.#room.resolve();
  }

  postOutput(post: Post): Promise<Posted> {
    return this.#options.protocol.postOutput(post);
  }

  postChunk(post: Post): Promise<Posted> {
    return this.#options.protocol.postChunk(post);
  }

  async stopTaking(): Promise<void> {
    this.#closing.abort(new Error("the worker is ending"));
    this.#room.resolve();
    await this.#taking;
  }

  async close(): Promise<void> {
    await this.stopTaking();
    this.#ended.abort(new Error("the worker has ended"));
    await this.#stopping;
    this.#options.protocol.close();
  }

  async #takeLoop(receiver: JobReceiver): Promise<void> {
    const { protocol, log } = this.#options;
    const { signal } = this.#closing;
    const pace = new Pace("asking for jobs", log, this.#clock);
    while (!signal.aborted) {
      const { free } = receiver;
      if (free <= 0) {
        this.#room = deferred<void>();
        await this.#room.promise;
        continue;
      }
      const started = this.#clock.elapsed();
      const isBusy = [...receiver.held].length > 0;
      const polled = await protocol.take(free, { isBusy, signal });
      if (polled.kind === "got") for (const message of polled.value) receiver.give(message);
      await pace.after(polled, this.#clock.elapsed() - started, signal);
    }
  }

  /** Goes on while jobs finish after a drain has begun: they may still be cancelled. */
  async #stopLoop(receiver: JobReceiver): Promise<void> {
    const { signal } = this.#ended;
    const pace = new Pace("listening for stops", this.#options.log, this.#clock);
    while (!signal.aborted) {
      const started = this.#clock.elapsed();
      const polled = await this.#options.protocol.stops(signal);
      const stopped = polled.kind === "got" ? polled.value.filter((id) => receiver.stop(id)) : [];
      // A server repeats an id until the heartbeat no longer lists it: those answers come at once.
      const isNews = polled.kind !== "got" || stopped.length > 0;
      const outcome = isNews ? polled : ({ kind: "nothing" } as const);
      await pace.after(outcome, this.#clock.elapsed() - started, signal);
    }
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
