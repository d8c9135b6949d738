/** The values of a stream, kept while they are few enough to be the job's output as well. */

import { LIMITS } from "../../contract/limits.ts";

export class StreamOutput {
  readonly #limitBytes: number;
  #values: unknown[] | undefined = [];
  /** Of the list as JSON: the brackets, and a comma after each value. */
  #bytes = 2;

  constructor(limitBytes: number = LIMITS.streamOutputBytes) {
    this.#limitBytes = limitBytes;
  }

  /** Takes one value, as plain JSON. */
  add(value: unknown): void {
    if (this.#values === undefined) return;
    this.#bytes += Buffer.byteLength(JSON.stringify(value)) + 1;
    // Part of the values would look like all of them: beyond the limit there are none.
    if (this.#bytes > this.#limitBytes) this.#values = undefined;
    else this.#values.push(value);
  }

  /** All values; none when they were too many. */
  get value(): unknown[] {
    return this.#values ?? [];
  }
}
