/** Ctrl-C: the first one asks the running command to end, the second one ends at once. */

import { INTERRUPTED } from "./failure.ts";

/** Why an interrupted command's signal aborted. */
export class Interrupted extends Error {
  constructor() {
    super("Interrupted by Ctrl-C.");
    this.name = "Interrupted";
  }
}

/** How long an interrupted command may tidy up, ms. */
const TIDY_MS = 1500;

export class Interrupt {
  readonly #controller = new AbortController();
  readonly #onSignal = (): void => {
    if (this.#controller.signal.aborted) process.exit(INTERRUPTED);
    this.#controller.abort(new Interrupted());
  };

  constructor() {
    process.on("SIGINT", this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Gives Ctrl-C back, to the command or to Node. */
  release(): void {
    process.off("SIGINT", this.#onSignal);
  }

  /** Settles with the work. When interrupted, throws `Interrupted` after the work has tidied up. */
  async guard<T>(work: Promise<T>): Promise<T> {
    const interrupted = new Promise<"interrupted">((resolve) => {
      this.signal.addEventListener("abort", () => resolve("interrupted"), { once: true });
    });
    // The outcome is read only after the race, so a late failure of the work is never unhandled.
    const settled = work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    const first = await Promise.race([settled, interrupted]);
    if (first === "interrupted") {
      await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, TIDY_MS))]);
      throw this.signal.reason;
    }
    if ("error" in first) throw first.error;
    return first.value;
  }
}
