/**
 * Requests that are being answered for keys that were made. A key opens nothing once it is void, but a
 * followed log, a stream or a WebSocket that it has opened before would go on for as long as it likes:
 * they are remembered here until they are over, so that they can be ended.
 */

export class BegunRequests {
  /** How to end each request, by the id of its key. */
  readonly #ends = new Map<string, Set<() => void>>();

  /** Remembers a request. Returns what is to be called when it is over. */
  begin(keyId: string, end: () => void): () => void {
    const ends = this.#ends.get(keyId) ?? new Set();
    this.#ends.set(keyId, ends);
    // The same connection may have several: each is remembered for itself.
    const own = (): void => end();
    ends.add(own);
    return () => {
      ends.delete(own);
      if (ends.size === 0 && this.#ends.get(keyId) === ends) this.#ends.delete(keyId);
    };
  }

  has(keyId: string): boolean {
    return this.#ends.has(keyId);
  }

  /** Ends all requests of a key. */
  end(keyId: string): void {
    const ends = this.#ends.get(keyId) ?? [];
    this.#ends.delete(keyId);
    for (const end of ends) end();
  }
}
