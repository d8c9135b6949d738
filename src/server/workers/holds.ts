/** Requests that wait for a worker, in order of arrival. */

import { FlashError } from "../../contract/errors.ts";
import type { Clock } from "../../kit/clock.ts";

/** Requests of one endpoint that may wait at once; more are refused early. */
const MAX_HELD = 2000;
/** Waits that end within this time of each other may end together, ms. */
const TOGETHER_MS = 100;

export type Attempt<T> =
  | { kind: "got"; value: T }
  | { kind: "wait" }
  | { kind: "refused"; error: Error };

interface Hold {
  since: number;
  /** Monotonic, ms. */
  until: number;
  timedOut: () => FlashError;
  takesAny: boolean;
  /** True when it was answered and leaves the queue. */
  attempt: () => boolean;
  refuse: (error: Error) => void;
}

export interface HoldRequest<T> {
  /** Tried at once and whenever something has changed. */
  attempt: () => Attempt<T>;
  /** Whatever answers one such request could answer any other. */
  takesAny: boolean;
  waitMs: number;
  /** The error when the wait is over. */
  timedOut: () => FlashError;
  signal: AbortSignal;
}

export class Holds {
  readonly #clock: Clock;
  readonly #holds = new Set<Hold>();
  /** One for all of them: the next time that somebody's wait is over. */
  #alarm: { at: number; cancel: () => void } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#holds.size;
  }

  /** How long the oldest has waited, ms. */
  oldestMs(): number {
    for (const { since } of this.#holds) return this.#clock.elapsed() - since;
    return 0;
  }

  /** Resolves with what `attempt` got. Rejects when refused, timed out, aborted or overloaded. */
  async wait<T>(request: HoldRequest<T>): Promise<T> {
    if (this.#holds.size >= MAX_HELD) {
      throw new FlashError("OVERLOADED", `${MAX_HELD} requests already wait for a worker.`, {
        hint: "Try again later, or raise the endpoint's workers.",
      });
    }
    const { signal } = request;
    signal.throwIfAborted();
    return await new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        this.#holds.delete(hold);
        if (this.#holds.size === 0) this.#disarm();
        signal.removeEventListener("abort", onAbort);
      };
      const refuse = (error: Error): void => {
        leave();
        reject(error);
      };
      const onAbort = (): void => refuse(signal.reason as Error);
      const attempt = (): boolean => {
        const result = request.attempt();
        if (result.kind === "wait") return false;
        leave();
        if (result.kind === "got") resolve(result.value);
        else reject(result.error);
        return true;
      };
      const { takesAny, timedOut } = request;
      const since = this.#clock.elapsed();
      const until = since + request.waitMs;
      const hold: Hold = { since, until, takesAny, timedOut, attempt, refuse };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#holds.add(hold);
      this.#arm(until);
      attempt();
    });
  }

  #arm(at: number): void {
    if (this.#alarm !== undefined && this.#alarm.at <= at) return;
    this.#disarm();
    const waitMs = at - this.#clock.elapsed();
    const cancel = this.#clock.after(Math.max(0, waitMs), () => {
      this.#alarm = undefined;
      this.#refuseLate();
    });
    this.#alarm = { at, cancel };
  }

  #disarm(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
  }

  #refuseLate(): void {
    const now = this.#clock.elapsed();
    let next = Infinity;
    for (const hold of this.#holds) {
      // A timer may be early by a fraction.
      if (hold.until <= now + 1) hold.refuse(hold.timedOut());
      else next = Math.min(next, hold.until);
    }
    // Many that came one after the other are looked at together.
    if (next < Infinity) this.#arm(Math.max(next, now + TOGETHER_MS));
  }

  /** Something has changed: everybody tries again, oldest first. */
  retry(): void {
    let isNothingLeft = false;
    for (const hold of this.#holds) {
      // One is enough to know: with thousands waiting, asking for each would cost more than answering.
      if (hold.takesAny && isNothingLeft) continue;
      if (!hold.attempt() && hold.takesAny) isNothingLeft = true;
    }
  }

  /** Sends those away who came last, until `room` are left; each is told how many are before it in excess. */
  shed(room: number, error: (excess: number) => FlashError): void {
    if (this.#holds.size <= room) return;
    let excess = 0;
    for (const hold of [...this.#holds].slice(room)) {
      if (hold.takesAny) hold.refuse(error(++excess));
    }
  }

  /** Sends everybody away. */
  refuseAll(error: () => FlashError): void {
    for (const hold of this.#holds) hold.refuse(error());
  }
}
