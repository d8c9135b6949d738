/** What the worker's life needs to know about either kind of endpoint. */

export interface Service {
  /** Takes no more work; resolves when what runs has come to its end. Idempotent. */
  drain(): Promise<void>;
}
