/**
 * The body of a load-balanced request. It is read only once a worker has been chosen, streamed, and
 * counted. The beginning of an idempotent request's body is kept, so that it can be sent again to
 * another worker when the first one dies.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { hasBody } from "./lb-headers.ts";

/** Bodies up to this size can be sent again, bytes. */
const MAX_KEPT = 256 * 1024;
/** Sending them twice has the effect of sending them once. Source: RFC 9110 9.2.2. */
export const IDEMPOTENT: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "OPTIONS",
  "TRACE",
  "PUT",
  "DELETE",
]);

/** Where a body goes. */
export interface BodySink {
  /** False: no more until `onDrain`. */
  write(chunk: Buffer): boolean;
  end(trailers: [string, string][]): void;
  onDrain(run: () => void): void;
}

export interface BodyEvents {
  onTooLarge: () => void;
}

export class RequestBody {
  readonly isEmpty: boolean;
  readonly isIdempotent: boolean;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #maxBytes: number;
  #bytes = 0;
  /** What has been read; undefined once it is too much to keep. */
  #kept: Buffer[] | undefined;
  #isOver = false;
  #isStarted = false;
  #target: { sink: BodySink; events: BodyEvents } | undefined;

  constructor(exchange: { request: IncomingMessage; response: ServerResponse; maxBytes: number }) {
    this.#request = exchange.request;
    this.#response = exchange.response;
    this.#maxBytes = exchange.maxBytes;
    this.isEmpty = !hasBody(exchange.request);
    this.isIdempotent = IDEMPOTENT.has(exchange.request.method ?? "");
    this.#kept = this.isIdempotent ? [] : undefined;
  }

  /** True when the length that the client announces is over the limit. */
  get isAnnouncedTooLarge(): boolean {
    return Number(this.#request.headers["content-length"] ?? 0) > this.#maxBytes;
  }

  /** True while everything that a worker has been sent could be sent to another. */
  get mayRepeat(): boolean {
    return this.isEmpty || !this.#isStarted || this.#kept !== undefined;
  }

  /** Sends what has been read and all that comes. Called once for each worker that is tried. */
  sendTo(sink: BodySink, events: BodyEvents): void {
    this.#target = { sink, events };
    for (const chunk of this.#kept ?? []) sink.write(chunk);
    if (this.#isOver) {
      this.#end(sink);
      return;
    }
    sink.onDrain(() => this.#request.resume());
    if (!this.#isStarted) this.#start();
    this.#request.resume();
  }

  /** That worker gets no more of it. */
  detach(): void {
    this.#target = undefined;
    this.#request.pause();
  }

  #start(): void {
    this.#isStarted = true;
    // Asked for only now: a client that waits for this has not sent a byte to a worker that is not there.
    if (this.#request.headers.expect !== undefined) this.#response.writeContinue();
    this.#request.on("data", (chunk: Buffer) => this.#read(chunk));
    this.#request.on("end", () => {
      this.#isOver = true;
      if (this.#target !== undefined) this.#end(this.#target.sink);
    });
  }

  #read(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) {
      this.#request.pause();
      this.#target?.events.onTooLarge();
      return;
    }
    if (this.#bytes > MAX_KEPT) this.#kept = undefined;
    else this.#kept?.push(chunk);
    if (this.#target?.sink.write(chunk) === false) this.#request.pause();
  }

  #end(sink: BodySink): void {
    const { rawTrailers } = this.#request;
    sink.end(rawTrailers.length > 0 ? pairsOf(rawTrailers) : []);
  }
}

/** Names and values of a flat header list. */
export function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index < raw.length; index += 2) {
    pairs.push([raw[index] ?? "", raw[index + 1] ?? ""]);
  }
  return pairs;
}
