/** Time, as something that can be handed in: code that waits takes a Clock and is tested without sleeping. */

export interface Clock {
  /** Wall time, epoch ms. For records that people read. */
  now(): number;
  /** Monotonic time, ms. For leases and timeouts: a wall clock may jump. */
  elapsed(): number;
  /** Calls `run` after `ms`. Returns a function that cancels. Never keeps the process alive by itself. */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, run) {
    // Timers beyond 2^31-1 ms fire at once; a job may live for a week, a delay may be longer. What is
    // already over is due now; for less than 0 Node prints a warning.
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), 2 ** 31 - 1));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms`, rejects with the reason when `signal` aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A timer that is this late, ms, tells of a process that has stood still. */
const STANDSTILL_MS = 500;
/** Then it reads for this long, ms, what others have said in the meantime: a second is what pings are apart. */
const CATCH_UP_MS = 1500;

/**
 * Calls `run` after `ms` in which somebody may have been silent. A process that was stopped, or starved, comes
 * to its timers before it comes to what it has been sent: it listens for a while first. Returns a function
 * that cancels.
 */
export function afterListening(clock: Clock, ms: number, run: () => void): () => void {
  const waitMs = Math.max(0, ms);
  const dueAt = clock.elapsed() + waitMs;
  let cancel = clock.after(waitMs, () => {
    if (clock.elapsed() - dueAt < STANDSTILL_MS) run();
    else cancel = afterListening(clock, CATCH_UP_MS, run);
  });
  return () => cancel();
}

/** A clock that stands still until it is told to move. For tests. */
export class ManualClock implements Clock {
  #now: number;
  #elapsed = 0;
  #timers: { at: number; run: () => void }[] = [];

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#elapsed;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#elapsed + Math.max(0, ms), run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  /** Moves time, firing what is due in order. */
  advance(ms: number): void {
    const end = this.#elapsed + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now += due.at - this.#elapsed;
      this.#elapsed = due.at;
      due.run();
    }
    this.#now += end - this.#elapsed;
    this.#elapsed = end;
  }

  /** Moves the wall clock alone, as an operator or NTP may. */
  jump(ms: number): void {
    this.#now += ms;
  }
}
