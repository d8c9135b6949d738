/**
 * Polls: the workers that are waiting for a job, endpoint by endpoint, first come first served.
 *
 * Invariants:
 *   1. A job that becomes available rings exactly one poll that may take it.
 *   2. A ring is never lost: a poll that leaves without having used its ring passes it on.
 */

import type { Clock } from "../../kit/clock.ts";

export interface Poll {
  readonly endpointId: string;
  readonly releaseId: string | undefined;
  readonly workerId: string;
  /** True once nothing may be handed out through this poll: its worker drains, its client is gone. */
  readonly isClosed: boolean;
  /** Its worker can take nothing until {@link Polls.ringWorker} or {@link Polls.ringAll}: rings go to others. */
  deafen(): void;
  /** What was rung until now is answered by the look into the store that follows. */
  answerRing(): void;
  wait(waitMs: number): Promise<void>;
}

class OpenPoll implements Poll {
  readonly endpointId: string;
  readonly releaseId: string | undefined;
  readonly workerId: string;
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  isClosed = false;
  isRung = false;
  isDeaf = false;

  constructor(request: PollRequest, clock: Clock) {
    this.endpointId = request.endpointId;
    this.releaseId = request.releaseId;
    this.workerId = request.workerId;
    this.#clock = clock;
  }

  deafen(): void {
    this.isDeaf = true;
  }

  answerRing(): void {
    this.isRung = false;
  }

  ring(): void {
    this.isDeaf = false;
    this.isRung = true;
    this.#wake?.();
  }

  end(): void {
    this.isClosed = true;
    this.#wake?.();
  }

  async wait(waitMs: number): Promise<void> {
    if (this.isRung || this.isClosed) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(waitMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

export interface PollRequest {
  endpointId: string;
  releaseId?: string;
  workerId: string;
  signal?: AbortSignal;
}

export class Polls {
  readonly #clock: Clock;
  /** In order of arrival: a Set keeps it. */
  readonly #waiting = new Map<string, Set<OpenPoll>>();
  readonly #draining = new Set<string>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs `work` with a poll that is in the queue for as long as the work takes. */
  async during<T>(request: PollRequest, work: (poll: Poll) => Promise<T>): Promise<T> {
    const poll = new OpenPoll(request, this.#clock);
    const { signal } = request;
    const onAbort = (): void => poll.end();
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted === true || this.#isClosed || this.isDraining(request.workerId)) poll.end();
    const queue = this.#waiting.get(request.endpointId) ?? new Set();
    this.#waiting.set(request.endpointId, queue.add(poll));
    try {
      return await work(poll);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      queue.delete(poll);
      if (queue.size === 0) this.#waiting.delete(request.endpointId);
      if (poll.isRung) this.ring(poll.endpointId, poll.releaseId);
    }
  }

  /**
   * A job of this endpoint and release is there to be taken; without a release, of any. False when
   * nobody was left to ring.
   */
  ring(endpointId: string, releaseId?: string): boolean {
    for (const poll of this.#waiting.get(endpointId) ?? []) {
      if (poll.isRung || poll.isClosed || poll.isDeaf) continue;
      if (releaseId !== undefined && (poll.releaseId ?? releaseId) !== releaseId) continue;
      poll.ring();
      return true;
    }
    return false;
  }

  /** Something is there to be taken, of a release that nobody knows: one poll of each looks. */
  ringEach(endpointId: string): void {
    const polls = [...(this.#waiting.get(endpointId) ?? [])];
    for (const releaseId of new Set(polls.map((poll) => poll.releaseId))) {
      this.ring(endpointId, releaseId);
    }
  }

  /** Something is there to be taken, but not by every worker: all look. */
  ringAll(endpointId: string): void {
    for (const poll of this.#waiting.get(endpointId) ?? []) poll.ring();
  }

  /** This worker may have what it could not have before. */
  ringWorker(workerId: string): void {
    for (const polls of this.#waiting.values()) {
      for (const poll of polls) if (poll.workerId === workerId) poll.ring();
    }
  }

  drain(workerId: string): void {
    this.#draining.add(workerId);
    for (const polls of this.#waiting.values()) {
      for (const poll of polls) if (poll.workerId === workerId) poll.end();
    }
  }

  isDraining(workerId: string): boolean {
    return this.#draining.has(workerId);
  }

  /** The worker is gone for good. */
  forget(workerId: string): void {
    this.#draining.delete(workerId);
  }

  close(): void {
    this.#isClosed = true;
    for (const polls of this.#waiting.values()) for (const poll of polls) poll.end();
  }
}
