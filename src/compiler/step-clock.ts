/** Time spent, for people who wonder what a build does. */

/** How long each step took. */
export class StepClock {
  readonly #start = performance.now();
  readonly #timings: Record<string, number> = {};

  time<T>(step: string, work: () => T): T {
    const start = performance.now();
    const result = work();
    this.#timings[step] = performance.now() - start;
    return result;
  }

  async wait<T>(step: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work();
    this.#timings[step] = performance.now() - start;
    return result;
  }

  done(): Record<string, number> {
    this.#timings.total = performance.now() - this.#start;
    return this.#timings;
  }
}
