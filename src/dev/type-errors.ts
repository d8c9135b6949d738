/**
 * Type errors in what is served. They stop nothing: a build is served first, and then TypeScript is asked
 * beside it. Each error is told once, and once more when the last one is gone.
 */

import type { Diagnostic } from "../compiler/compiler.ts";

/** News about type errors. */
export interface TypeNews {
  /** Those that were not there at the last check. */
  fresh: readonly Diagnostic[];
  /** How many there are now. */
  left: number;
}

export interface TypeErrorsOptions {
  /** All type errors there are; undefined when it is not known. Ends soon after `signal`. */
  find: (signal: AbortSignal) => Promise<readonly Diagnostic[] | undefined>;
  onNews: (news: TypeNews) => void;
  /** Told when they cannot be looked for. */
  onProblem: (error: Error) => void;
}

export class TypeErrors {
  readonly #options: TypeErrorsOptions;
  #known: readonly Diagnostic[] = [];
  #check: { abort: AbortController; done: Promise<void> } | undefined;

  constructor(options: TypeErrorsOptions) {
    this.#options = options;
  }

  /** Looks for them, in what is served now. Returns at once. */
  look(): void {
    void this.stop();
    const abort = new AbortController();
    this.#check = { abort, done: this.#look(abort.signal) };
  }

  /** Ends the check that is under way: its sources are old. What it would have said is not lost to the next. */
  async stop(): Promise<void> {
    this.#check?.abort.abort();
    await this.#check?.done;
  }

  async #look(signal: AbortSignal): Promise<void> {
    try {
      const found = await this.#options.find(signal);
      if (found === undefined || signal.aborted) return;
      const fresh = without(found, this.#known);
      const isNews = fresh.length > 0 || found.length !== this.#known.length;
      this.#known = found;
      if (isNews) this.#options.onNews({ fresh, left: found.length });
    } catch (error) {
      this.#options.onProblem(error as Error);
    }
  }
}

/** Those of `errors` that `known` does not have as often. An error stays the same when its lines move. */
function without(errors: readonly Diagnostic[], known: readonly Diagnostic[]): Diagnostic[] {
  const counts = new Map<string, number>();
  for (const error of known) counts.set(keyOf(error), (counts.get(keyOf(error)) ?? 0) + 1);
  return errors.filter((error) => {
    const count = counts.get(keyOf(error)) ?? 0;
    counts.set(keyOf(error), count - 1);
    return count <= 0;
  });
}

function keyOf({ file, message }: Diagnostic): string {
  return JSON.stringify([file, message]);
}
