/**
 * What workers write: one file an endpoint, `home/logs/<app>/<environment>/<endpoint>.ndjson`, and
 * listeners. Bounded everywhere: a file turns into `.1` at 8 MiB and replaces the earlier one, what
 * waits to be written is dropped beyond 1 MiB (and that is said), and a reader that does not keep up
 * loses lines, never the server its memory.
 */

import { appendFile, mkdir, open, rename, stat } from "node:fs/promises";
import path from "node:path";
import type { LogLine } from "../../contract/control.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";

const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_PENDING_BYTES = 1024 * 1024;
/** Lines arriving within this time are written together, ms. */
const FLUSH_MS = 50;
/** From a file's end, at most this much is read for `tail`. */
const MAX_TAIL_BYTES = 2 * 1024 * 1024;
const MAX_FOLLOW_LINES = 10_000;

/** Whose lines. */
export interface LogSource {
  app: string;
  environment: string;
  endpoint: string;
}

type Listener = (line: LogLine) => void;

/** The log of one endpoint. Everything that touches its file happens one after the other. */
class EndpointLog {
  readonly listeners = new Set<Listener>();
  readonly #file: string;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #work: Promise<void> = Promise.resolve();
  #cancelFlush: (() => void) | undefined;

  constructor(file: string, clock: Clock, onError: (error: unknown) => void) {
    this.#file = file;
    this.#clock = clock;
    this.#onError = onError;
  }

  add(line: LogLine): void {
    for (const listener of this.listeners) listener(line);
    const text = `${JSON.stringify(line)}\n`;
    if (this.#pendingBytes + text.length > MAX_PENDING_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#pending.push(text);
    this.#pendingBytes += text.length;
    this.#cancelFlush ??= this.#clock.after(FLUSH_MS, () => void this.flush());
  }

  flush(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#work = this.#work.then(() => this.#write()).catch(this.#onError);
    return this.#work;
  }

  /**
   * The last `count` lines, and from then on every further one to `listener`: none is missed, none
   * comes twice, because the listener joins in the same turn in which the unwritten lines are read.
   */
  async tail(count: number, listener?: Listener): Promise<LogLine[]> {
    await this.flush();
    let lines: LogLine[] = [];
    const read = this.#work.then(async () => {
      const current = await readTail(this.#file, count);
      const earlier = current.length < count ? await readTail(`${this.#file}.1`, count) : [];
      const unwritten = this.#pending.map((text) => JSON.parse(text) as LogLine);
      lines = [...earlier, ...current, ...unwritten].slice(-count);
      if (count === 0) lines = [];
      if (listener !== undefined) this.listeners.add(listener);
    });
    this.#work = read.catch(this.#onError);
    await read;
    return lines;
  }

  async #write(): Promise<void> {
    if (this.#pending.length === 0) return;
    const dropped = this.#dropped;
    const text = this.#pending.join("");
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#dropped = 0;
    await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    await this.#rotate();
    await appendFile(this.#file, text, { mode: 0o600 });
    if (dropped > 0) this.#onError(new Error(`${dropped} lines of output were not written`));
  }

  async #rotate(): Promise<void> {
    const size = await stat(this.#file).then(
      (found) => found.size,
      () => 0,
    );
    if (size >= MAX_FILE_BYTES) await rename(this.#file, `${this.#file}.1`);
  }
}

export class Logs {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #books = new Map<string, EndpointLog>();

  constructor(options: { home: string; clock: Clock; log: Log }) {
    this.#folder = path.join(options.home, "logs");
    this.#clock = options.clock;
    this.#log = options.log;
  }

  add(source: LogSource, line: Omit<LogLine, "endpoint">): void {
    this.#book(source).add({ ...line, endpoint: source.endpoint });
  }

  /** Newest `tail` lines of all sources, oldest first; then, with `follow`, further ones. */
  async *read(
    sources: readonly LogSource[],
    request: { tail: number; follow: boolean; signal: AbortSignal },
  ): AsyncGenerator<LogLine> {
    const { tail, follow, signal } = request;
    const queue = new LineQueue(signal);
    const listener = follow ? (line: LogLine) => queue.push(line) : undefined;
    const books = sources.map((source) => this.#book(source));
    try {
      const tails = await Promise.all(books.map((book) => book.tail(tail, listener)));
      const lines = tails.flat().sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
      yield* tail === 0 ? [] : lines.slice(-tail);
      if (follow) yield* queue.lines();
    } finally {
      if (listener !== undefined) for (const book of books) book.listeners.delete(listener);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#books.values()].map((book) => book.flush()));
  }

  #book(source: LogSource): EndpointLog {
    const key = keyOf(source);
    let book = this.#books.get(key);
    if (book === undefined) {
      const { app, environment, endpoint } = source;
      const file = path.join(this.#folder, app, environment, `${endpoint}.ndjson`);
      book = new EndpointLog(file, this.#clock, (error) => {
        this.#log.warn("a worker's log is incomplete", { endpoint: key, error: String(error) });
      });
      this.#books.set(key, book);
    }
    return book;
  }
}

/** Lines on their way to a reader. */
class LineQueue {
  readonly #signal: AbortSignal;
  #lines: LogLine[] = [];
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  push(line: LogLine): void {
    if (this.#lines.length < MAX_FOLLOW_LINES) this.#lines.push(line);
    this.#wake();
  }

  /** Until the signal aborts. */
  async *lines(): AsyncGenerator<LogLine> {
    while (!this.#signal.aborted) {
      const lines = this.#lines;
      this.#lines = [];
      yield* lines;
      if (this.#lines.length > 0 || this.#signal.aborted) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function readTail(file: string, count: number): Promise<LogLine[]> {
  if (count === 0) return [];
  let handle;
  try {
    handle = await open(file, "r");
  } catch {
    return [];
  }
  try {
    const { size } = await handle.stat();
    const from = Math.max(0, size - MAX_TAIL_BYTES);
    const buffer = Buffer.alloc(size - from);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, from);
    const texts = buffer
      .toString("utf8", 0, bytesRead)
      .split("\n")
      .slice(-count - 1);
    return texts.flatMap(parseLine);
  } finally {
    await handle.close();
  }
}

/** A line that a crash or the cut has broken is left out. */
function parseLine(text: string): LogLine[] {
  try {
    return [JSON.parse(text) as LogLine];
  } catch {
    return [];
  }
}

function keyOf({ app, environment, endpoint }: LogSource): string {
  return `${app}/${environment}/${endpoint}`;
}
