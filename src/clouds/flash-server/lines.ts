/** What a Flash server tells line by line: events and logs, and logs that go on when it was away. */

import { setTimeout as pause } from "node:timers/promises";
import type { CloudOptions, Target } from "../../contract/cloud.ts";
import type { LogLine, LogQuery } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { EventDocument, EventQuery } from "../../contract/events.ts";
import { API, type ControlClient } from "./client.ts";

/** A server that is restarted is waited for this long by those who follow its logs, ms. */
const AWAY_MS = 60_000;
const LOOK_AGAIN_MS = 500;
/** Lines that may have been written meanwhile. */
const RESUMED_LINES = 10_000;

export class ServerLines {
  readonly #client: ControlClient;

  constructor(client: ControlClient) {
    this.#client = client;
  }

  async *events(
    target: Target,
    { follow, ...query }: EventQuery,
    options: CloudOptions,
  ): AsyncGenerator<EventDocument> {
    const texts = Object.entries(query).map(([name, value]) => [name, String(value)]);
    const lines = this.#client.lines({
      method: "GET",
      path: `${API}/events`,
      query: {
        ...(Object.fromEntries(texts) as Record<string, string>),
        ...target,
        follow: follow ? "1" : undefined,
      },
      signal: options.signal,
      ...(follow ? { idleMs: 0 } : {}),
    });
    for await (const line of lines) yield JSON.parse(line) as EventDocument;
  }

  logs(
    target: Target,
    query: LogQuery & { endpoint?: string },
    options: CloudOptions,
  ): AsyncGenerator<LogLine> {
    return query.follow ? this.#follow(target, query, options) : this.#read(target, query, options);
  }

  async *#read(
    target: Target,
    { tail, follow, since, ...filter }: LogQuery & { endpoint?: string },
    options: CloudOptions,
  ): AsyncGenerator<LogLine> {
    const lines = this.#client.lines({
      method: "GET",
      path: `${API}/logs`,
      query: {
        ...target,
        ...filter,
        tail: String(tail),
        follow: follow ? "1" : undefined,
        since: since === undefined ? undefined : String(since),
      },
      signal: options.signal,
      ...(follow ? { idleMs: 0 } : {}),
    });
    for await (const line of lines) yield JSON.parse(line) as LogLine;
  }

  /** {@link logs} that go on when the server comes back: from its last line on, each line once. */
  async *#follow(
    target: Target,
    query: LogQuery & { endpoint?: string },
    options: CloudOptions,
  ): AsyncGenerator<LogLine> {
    let since = query.since;
    /** Lines of the last moment: they come again. */
    let known = new Set<string>();
    let lostAt: number | undefined;
    for (let isFirst = true; ; isFirst = false) {
      const again = isFirst ? {} : { tail: RESUMED_LINES };
      const from = since === undefined ? {} : { since };
      try {
        for await (const line of this.#read(target, { ...query, ...again, ...from }, options)) {
          lostAt = undefined;
          const text = JSON.stringify(line);
          if (known.has(text)) continue;
          const time = Date.parse(line.time);
          if (time !== since) known = new Set();
          known.add(text);
          since = time;
          yield line;
        }
      } catch (error) {
        if (isFirst && since === query.since) throw error;
        if (options.signal?.aborted === true || !isAway(error)) throw error;
      }
      lostAt ??= Date.now();
      if (Date.now() - lostAt > AWAY_MS) throw away(this.#client.url);
      options.onProgress?.("the server is away; waiting for it");
      await pause(
        LOOK_AGAIN_MS,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
      since ??= lostAt;
    }
  }
}

function isAway(error: unknown): boolean {
  const codes = ["CONNECTION_FAILED", "SERVER_NOT_RUNNING", "UNAVAILABLE"];
  return FlashError.is(error) && codes.includes(error.code);
}

function away(target: string): FlashError {
  return new FlashError("CONNECTION_FAILED", `${target} has been away for ${AWAY_MS / 1000} s.`, {
    hint: "Is the server running?",
  });
}
