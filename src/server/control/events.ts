/**
 * What happens to apps, endpoints and workers: kept in `home/logs/events.ndjson`, within a bound, and
 * told to those who follow. Not in the store: a lost event harms nobody, and a crash loop must not
 * cost the queue its disk.
 */

import path from "node:path";
import type { EventDocument, EventQuery } from "../../contract/events.ts";
import type { Clock } from "../../kit/clock.ts";
import { uuidv7 } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import { FollowQueue } from "./follow-queue.ts";
import { LogFile } from "./log-file.ts";

/** Some tens of thousands of events, bytes. */
const EVENT_BYTES = 16 * 1024 * 1024;

export type NewEvent = Omit<EventDocument, "id" | "time">;

export class Events {
  readonly #clock: Clock;
  readonly #file: LogFile<EventDocument>;

  constructor({ home, clock, log }: { home: string; clock: Clock; log: Log }) {
    this.#clock = clock;
    this.#file = new LogFile({
      file: path.join(home, "logs", "events.ndjson"),
      maxBytes: EVENT_BYTES,
      clock,
      onError: (error) => log.warn("events were not written", { error: String(error) }),
      onRotated: () => undefined,
    });
  }

  emit(event: NewEvent): void {
    const now = this.#clock.now();
    this.#file.add({ id: uuidv7(now), time: new Date(now).toISOString(), ...event });
  }

  /** Newest events that fit, oldest first; then, with `follow`, further ones. */
  async *read(
    query: EventQuery,
    { sees, signal }: { sees: (event: EventDocument) => boolean; signal: AbortSignal },
  ): AsyncGenerator<EventDocument> {
    const fits = (event: EventDocument): boolean => fitsQuery(event, query) && sees(event);
    const queue = new FollowQueue<EventDocument>(signal, (lost, last) => ({
      ...(last.app === undefined ? {} : { app: last.app }),
      id: last.id,
      time: last.time,
      kind: "events.skipped",
      message: `${lost} events came faster than they were read`,
    }));
    const listener = (event: EventDocument): void => {
      if (fits(event)) queue.push(event);
    };
    const since = query.since === undefined ? undefined : new Date(query.since).toISOString();
    try {
      const wanted = { count: query.tail, fits, since };
      yield* await this.#file.tail(wanted, query.follow ? listener : undefined);
      if (query.follow) yield* queue.lines();
    } finally {
      this.#file.listeners.delete(listener);
    }
  }

  close(): Promise<void> {
    return this.#file.flush();
  }
}

function fitsQuery(event: EventDocument, query: EventQuery): boolean {
  const { app, environment, endpoint, worker, kind, after } = query;
  return (
    (app === undefined || event.app === app) &&
    (environment === undefined || event.environment === environment) &&
    (endpoint === undefined || event.endpoint === endpoint) &&
    (worker === undefined || event.worker === worker) &&
    (kind === undefined || event.kind === kind || event.kind.startsWith(`${kind}.`)) &&
    (after === undefined || event.id > after)
  );
}
