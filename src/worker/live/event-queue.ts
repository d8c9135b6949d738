/** Events between a running function and its reader, in order. The writer can wait for a slow reader. */

import { deferred, type Deferred } from "../../kit/abort.ts";

/** The writer waits while this many events are unread. */
const FULL = 16;

export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #events: T[] = [];
  readonly #onLeave: () => void;
  #isEnded = false;
  #arrival: Deferred<void> | undefined;
  #space: Deferred<void> | undefined;

  /** `onLeave`: the reader wants no more. */
  constructor(onLeave: () => void) {
    this.#onLeave = onLeave;
  }

  push(event: T): void {
    this.#events.push(event);
    this.#arrival?.resolve();
  }

  /** Resolves when the reader has caught up or has left. */
  async space(): Promise<void> {
    if (this.#events.length < FULL || this.#isEnded) return;
    this.#space ??= deferred<void>();
    await this.#space.promise;
  }

  end(): void {
    this.#isEnded = true;
    this.#arrival?.resolve();
    this.#freeWriter();
  }

  async next(): Promise<IteratorResult<T>> {
    while (this.#events.length === 0 && !this.#isEnded) {
      this.#arrival = deferred<void>();
      await this.#arrival.promise;
    }
    const [event] = this.#events.splice(0, 1);
    if (this.#events.length < FULL) this.#freeWriter();
    return event === undefined ? { done: true, value: undefined } : { done: false, value: event };
  }

  return(): Promise<IteratorResult<T>> {
    this.#events.length = 0;
    this.end();
    this.#onLeave();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #freeWriter(): void {
    this.#space?.resolve();
    this.#space = undefined;
  }
}
