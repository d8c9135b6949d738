/**
 * Wall time that never goes back and never stands still. A wall clock that is set back must not turn
 * queued jobs into delayed ones; one that is set forward, as after a suspend, is followed.
 */

import type { Clock } from "../../kit/clock.ts";

/**
 * By how much the last server may have been ahead of the wall clock for its time to be gone on with, ms.
 * A hardware clock in local time that is read as UTC is wrong by up to 14 hours; who was further ahead
 * had no clock worth following, and would keep all times wrong until the wall clock is there, for years.
 */
export const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

export interface SteadyClock extends Clock {
  /**
   * Goes on from the latest time that an earlier server has written down, unless it is more than
   * {@link MAX_AHEAD_MS} ahead: then the wall clock is believed.
   */
  resume(latestAt: number): void;
}

export function steadyClock(clock: Clock): SteadyClock {
  let last = clock.now();
  let lastElapsed = clock.elapsed();
  const now = (): number => {
    const elapsed = clock.elapsed();
    last = Math.max(clock.now(), last + elapsed - lastElapsed);
    lastElapsed = elapsed;
    return Math.floor(last);
  };
  return {
    now,
    elapsed: () => clock.elapsed(),
    after: (ms, run) => clock.after(ms, run),
    resume(latestAt) {
      if (latestAt - now() <= MAX_AHEAD_MS) last = Math.max(last, latestAt);
    },
  };
}
