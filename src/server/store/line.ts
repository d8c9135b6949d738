/** A line: what comes last is served last, and what was served too early gets its place back. */

/** Places that were left are kept until there are this many of them. */
const SWEEP = 256;

export class Line<T> {
  #places: T[] = [];
  /** Where the first stands. */
  #head = 0;

  get length(): number {
    return this.#places.length - this.#head;
  }

  get first(): T | undefined {
    return this.#places[this.#head];
  }

  get last(): T | undefined {
    return this.length === 0 ? undefined : this.#places.at(-1);
  }

  push(one: T): void {
    this.#places.push(one);
  }

  dropLast(): void {
    if (this.length > 0) this.#places.pop();
  }

  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const one = this.#places[this.#head++];
    if (this.#head === SWEEP) {
      this.#places = this.#places.slice(SWEEP);
      this.#head = 0;
    }
    return one;
  }

  unshift(one: T): void {
    if (this.#head > 0) this.#places[--this.#head] = one;
    else this.#places.unshift(one);
  }
}
