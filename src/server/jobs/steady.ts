/**
 * Wall time that never goes back and never stands still. A wall clock that is set back must not turn
 * queued jobs into delayed ones; one that is set forward, as after a suspend, is followed.
 */

import type { Clock } from "../../kit/clock.ts";

export function steadyClock(clock: Clock): Clock {
  let last = clock.now();
  let lastElapsed = clock.elapsed();
  return {
    now(): number {
      const elapsed = clock.elapsed();
      last = Math.max(clock.now(), last + elapsed - lastElapsed);
      lastElapsed = elapsed;
      return Math.floor(last);
    },
    elapsed: () => clock.elapsed(),
    after: (ms, run) => clock.after(ms, run),
  };
}
