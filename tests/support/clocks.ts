/** Clocks that tests hand to servers, so that no machine is too slow for them, and no test waits for long. */

import { ManualClock, systemClock, type Clock } from "../../src/kit/clock.ts";

/** Of a process that may be stopped: its timers are late then, as they are after SIGSTOP. */
export class StoppedClock extends ManualClock {
  #stoodStillMs = 0;

  override elapsed(): number {
    return super.elapsed() + this.#stoodStillMs;
  }

  /** Time that passes without any timer's firing. */
  standStill(ms: number): void {
    this.#stoodStillMs += ms;
  }
}

/**
 * The machine's clock, whose monotonic time can be set on; by itself it may go so many times slower than
 * the machine's, while its timers fire as ever.
 */
export class LeapingClock implements Clock {
  readonly #slowness: number;
  #leaptMs = 0;

  constructor(slowness = 1) {
    this.#slowness = slowness;
  }

  now(): number {
    return systemClock.now();
  }

  elapsed(): number {
    return systemClock.elapsed() / this.#slowness + this.#leaptMs;
  }

  after(ms: number, run: () => void): () => void {
    return systemClock.after(ms, run);
  }

  leap(ms: number): void {
    this.#leaptMs += ms;
  }
}

/** The machine's clock, so many times faster. */
export function fastClock(factor: number): Clock {
  return {
    now: () => systemClock.now(),
    elapsed: () => systemClock.elapsed() * factor,
    after: (ms, run) => systemClock.after(ms / factor, run),
  };
}

/** The machine's clock, by which everybody has four times as long: a starved worker is not taken for a silent one. */
export const PATIENT_CLOCK: Clock = {
  ...systemClock,
  elapsed: () => systemClock.elapsed() / 4,
};

/** The machine's clock, with timers that fire a thousand times later: what happens soon does so without them. */
export const LATE_CLOCK: Clock = {
  ...systemClock,
  after: (ms, run) => systemClock.after(ms * 1000, run),
};
