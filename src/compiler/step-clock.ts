/** Time spent, for people who wonder what a build does. */

export type BuildStep = "scan" | "describe" | "types" | "check" | "bundle" | "packages" | "pack";

/** How long each step took. */
export class StepClock {
  readonly #start = performance.now();
  readonly #timings: Record<string, number> = {};
  readonly #onStep: ((step: BuildStep) => void) | undefined;

  /** `onStep` is told when a step begins. */
  constructor(onStep?: (step: BuildStep) => void) {
    this.#onStep = onStep;
  }

  time<T>(step: BuildStep, work: () => T): T {
    this.#onStep?.(step);
    const start = performance.now();
    const result = work();
    this.#timings[step] = performance.now() - start;
    return result;
  }

  async wait<T>(step: BuildStep, work: () => Promise<T>): Promise<T> {
    this.#onStep?.(step);
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
