/** A clock of a process that may be stopped: its timers are late then, as they are after SIGSTOP. */

import { ManualClock } from "../../src/kit/clock.ts";

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
