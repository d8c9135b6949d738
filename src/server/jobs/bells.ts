/**
 * Bells: how a held request waits for something that another request makes happen. A bell is hung
 * before the state is read, so what happens between reading and waiting rings it all the same.
 */

import type { Clock } from "../../kit/clock.ts";

/** One waiter. Always close it. */
export interface Bell<T> {
  /** What the last ring brought. */
  readonly value: T | undefined;
  /** Resolves at the next ring, or at once when it rang since it was hung or last waited for. */
  wait(waitMs: number, signal?: AbortSignal): Promise<void>;
  close(): void;
}

export class Bells<T = undefined> {
  readonly #clock: Clock;
  /** Hardly a key has more than one: a set for each would cost more than the bell. */
  readonly #hung = new Map<string, HungBell<T> | Set<HungBell<T>>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `patienceMs`: how long its owner means to wait in all. */
  hang(key: string, patienceMs = 0): Bell<T> {
    const remove = (): void => this.#remove(key, bell);
    const bell: HungBell<T> = new HungBell({ clock: this.#clock, patienceMs, remove });
    const hung = this.#hung.get(key);
    if (hung === undefined) this.#hung.set(key, bell);
    else if (hung instanceof Set) hung.add(bell);
    else this.#hung.set(key, new Set([hung, bell]));
    return bell;
  }

  ring(key: string, value?: T): void {
    const hung = this.#hung.get(key);
    if (hung instanceof Set) for (const bell of hung) bell.ring(value);
    else hung?.ring(value);
  }

  ringAll(): void {
    for (const key of this.#hung.keys()) this.ring(key);
  }

  /** The longest patience of those who wait, 0 when nobody does. */
  patience(key: string): number {
    const hung = this.#hung.get(key);
    if (!(hung instanceof Set)) return hung?.patienceMs ?? 0;
    let longest = 0;
    for (const { patienceMs } of hung) longest = Math.max(longest, patienceMs);
    return longest;
  }

  #remove(key: string, bell: HungBell<T>): void {
    const hung = this.#hung.get(key);
    if (hung === bell) this.#hung.delete(key);
    else if (hung instanceof Set && hung.delete(bell) && hung.size === 0) this.#hung.delete(key);
  }
}

class HungBell<T> implements Bell<T> {
  readonly patienceMs: number;
  readonly #clock: Clock;
  readonly #remove: () => void;
  #hasRung = false;
  #wake: (() => void) | undefined;
  value: T | undefined;

  constructor(options: { clock: Clock; patienceMs: number; remove: () => void }) {
    this.#clock = options.clock;
    this.#remove = options.remove;
    this.patienceMs = options.patienceMs;
  }

  ring(value: T | undefined): void {
    if (value !== undefined) this.value = value;
    this.#hasRung = true;
    this.#wake?.();
  }

  async wait(waitMs: number, signal?: AbortSignal): Promise<void> {
    if (!this.#hasRung && signal?.aborted !== true) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          cancel();
          signal?.removeEventListener("abort", wake);
          resolve();
        };
        const cancel = this.#clock.after(waitMs, wake);
        signal?.addEventListener("abort", wake, { once: true });
        this.#wake = wake;
      });
      this.#wake = undefined;
    }
    this.#hasRung = false;
  }

  close(): void {
    this.#remove();
  }
}
