/** Waits for a condition, never for a duration. */

export interface UntilOptions {
  /** What is waited for, for the message when it does not come. */
  what: string;
  /** Default 120 s: a machine with much else to do gets there, too. */
  withinMs?: number;
  everyMs?: number;
}

/** A pause that lasts longer is none of ours: the machine, or this process, stood still. */
const STANDSTILL_MS = 1000;

type Truthy<T> = T extends false | 0 | "" | null | undefined ? never : T;

/** Resolves with the first truthy value of `probe`; rejects at the deadline with the last error seen. */
export async function until<T>(
  probe: () => T | Promise<T>,
  { what, withinMs = 120_000, everyMs = 25 }: UntilOptions,
): Promise<Truthy<T>> {
  let deadline = performance.now() + withinMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value as Truthy<T>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const seen = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`Waited ${withinMs} ms for ${what}; last seen: ${seen}`);
    }
    const before = performance.now();
    await new Promise((resolve) => setTimeout(resolve, everyMs));
    deadline += Math.max(0, performance.now() - before - everyMs - STANDSTILL_MS);
  }
}
