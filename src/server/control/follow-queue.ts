/** Lines on their way to a reader who follows. One that does not keep up loses some, and is told how many. */

const MAX_LINES = 10_000;

export class FollowQueue<Line> {
  readonly #signal: AbortSignal;
  readonly #gap: (lost: number, last: Line) => Line;
  #lines: Line[] = [];
  #lost = 0;
  #wake: () => void = () => undefined;

  /** `gap`: the line that says how many are missing before it. */
  constructor(signal: AbortSignal, gap: (lost: number, last: Line) => Line) {
    this.#signal = signal;
    this.#gap = gap;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  push(line: Line): void {
    if (this.#lines.length < MAX_LINES) this.#lines.push(line);
    else this.#lost += 1;
    this.#wake();
  }

  /** Until the signal aborts. */
  async *lines(): AsyncGenerator<Line> {
    while (!this.#signal.aborted) {
      const lines = this.#lines;
      const last = lines.at(-1);
      if (this.#lost > 0 && last !== undefined) lines.push(this.#gap(this.#lost, last));
      [this.#lines, this.#lost] = [[], 0];
      yield* lines;
      if (this.#lines.length > 0 || this.#signal.aborted) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
