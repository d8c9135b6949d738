/** Those who want to hear of something, in the order they asked. */

export class Listeners<T> {
  readonly #listeners = new Set<(value: T) => void>();

  add(listener: (value: T) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }

  emit(value: T): void {
    for (const listener of this.#listeners) listener(value);
  }
}
