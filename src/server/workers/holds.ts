/** Requests that wait for a worker, in order of arrival. */

import { FlashError } from "../../contract/errors.ts";
import type { Clock } from "../../kit/clock.ts";

/** Requests of one endpoint that may wait at once; more are refused early. */
const MAX_HELD = 2000;

export type Attempt<T> =
  | { kind: "got"; value: T }
  | { kind: "wait" }
  | { kind: "refused"; error: Error };

interface Hold {
  since: number;
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
        cancelTimer();
        signal.removeEventListener("abort", onAbort);
      };
      const refuse = (error: Error): void => {
        leave();
        reject(error);
      };
      const onAbort = (): void => refuse(signal.reason as Error);
      const cancelTimer = this.#clock.after(request.waitMs, () => refuse(request.timedOut()));
      const attempt = (): boolean => {
        const result = request.attempt();
        if (result.kind === "wait") return false;
        leave();
        if (result.kind === "got") resolve(result.value);
        else reject(result.error);
        return true;
      };
      const { takesAny } = request;
      const hold: Hold = { since: this.#clock.elapsed(), takesAny, attempt, refuse };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#holds.add(hold);
      attempt();
    });
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

  /** Sends everybody away. */
  refuseAll(error: () => FlashError): void {
    for (const hold of this.#holds) hold.refuse(error());
  }
}
