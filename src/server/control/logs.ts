/**
 * What workers write: one log an endpoint, `home/logs/<app>/<environment>/<endpoint>.ndjson`, and those
 * who follow it. Bounded everywhere: each log and all of them together in bytes, what waits to be
 * written, and a reader that does not keep up loses lines, never the server its memory.
 */

import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { LogFilter, LogLine, LogQuery } from "../../contract/control.ts";
import { isAtLeast } from "../../contract/logs.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { FollowQueue } from "./follow-queue.ts";
import { LogFile } from "./log-file.ts";

const MIB = 1024 * 1024;
/** What the log of one endpoint may take on the disk, bytes. */
export const LOG_BYTES: number = 16 * MIB;
/** What all of them together may take, bytes. */
export const ALL_LOGS_BYTES: number = 1024 * MIB;

/** Whose lines. */
export interface LogSource {
  app: string;
  environment: string;
  endpoint: string;
}

export interface LogsOptions {
  home: string;
  clock: Clock;
  log: Log;
  /** Of one endpoint. Default {@link LOG_BYTES}. */
  maxBytes?: number | undefined;
  /** Of all endpoints. Default {@link ALL_LOGS_BYTES}. */
  maxTotalBytes?: number | undefined;
}

export class Logs {
  readonly #folder: string;
  readonly #options: LogsOptions;
  readonly #files = new Map<string, LogFile<LogLine>>();
  #pruning: Promise<void> = Promise.resolve();

  constructor(options: LogsOptions) {
    this.#folder = path.join(options.home, "logs");
    this.#options = options;
  }

  add(source: LogSource, line: Omit<LogLine, "endpoint">): void {
    this.#file(source).add({ ...line, endpoint: source.endpoint });
  }

  /** Newest lines of all sources that fit, oldest first; then, with `follow`, further ones. */
  async *read(
    sources: readonly LogSource[],
    request: LogQuery & { signal: AbortSignal },
  ): AsyncGenerator<LogLine> {
    const { tail, follow, signal } = request;
    const fits = (line: LogLine): boolean => fitsFilter(line, request);
    const since = request.since === undefined ? undefined : new Date(request.since).toISOString();
    const queue = new FollowQueue(signal, (lost, last: LogLine) => this.#gap(lost, last));
    const listener = follow ? (line: LogLine) => fits(line) && queue.push(line) : undefined;
    const files = sources.map((source) => this.#file(source));
    try {
      const wanted = { count: tail, fits, since };
      let lines: LogLine[] = [];
      // One after the other: all of a thousand endpoints at once may be more than memory has room for.
      for (const file of files) lines = newest([lines, await file.tail(wanted, listener)], tail);
      yield* lines;
      if (follow) yield* queue.lines();
    } finally {
      if (listener !== undefined) for (const file of files) file.listeners.delete(listener);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.flush()));
    await this.#pruning;
  }

  #gap(lost: number, { endpoint }: LogLine): LogLine {
    const message = `… ${lost} lines left out: they came faster than they were read`;
    const time = new Date(this.#options.clock.now()).toISOString();
    return { time, endpoint, worker: "", stream: "system", level: "warn", message };
  }

  #file(source: LogSource): LogFile<LogLine> {
    const { app, environment, endpoint } = source;
    const key = `${app}/${environment}/${endpoint}`;
    let file = this.#files.get(key);
    if (file === undefined) {
      const { clock, log, maxBytes = LOG_BYTES } = this.#options;
      file = new LogFile({
        file: path.join(this.#folder, app, environment, `${endpoint}.ndjson`),
        maxBytes,
        clock,
        onError: (error) => {
          log.warn("a worker's log is incomplete", { endpoint: key, error: String(error) });
        },
        onRotated: () => this.#prune(),
      });
      this.#files.set(key, file);
    }
    return file;
  }

  /** Removes the oldest files while all of them take too much; one a worker writes to is never among them. */
  #prune(): void {
    const most = this.#options.maxTotalBytes ?? ALL_LOGS_BYTES;
    this.#pruning = this.#pruning
      .then(async () => {
        const files = await logFiles(this.#folder);
        let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
        const current = new Set(
          [...this.#files.keys()].map((key) => path.join(this.#folder, `${key}.ndjson`)),
        );
        for (const { file, bytes } of files.sort((a, b) => a.changedAt - b.changedAt)) {
          if (total <= most) return;
          if (current.has(file)) continue;
          await rm(file, { force: true });
          total -= bytes;
        }
      })
      .catch((error: unknown) => {
        this.#options.log.warn("old logs could not be removed", { error: String(error) });
      });
  }
}

/** The last of all, by time; those of one source keep their order. */
function newest(parts: readonly LogLine[][], count: number): LogLine[] {
  if (count === 0) return [];
  const lines = parts.flat().sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  return lines.slice(-count);
}

function fitsFilter(line: LogLine, { worker, job, request, level }: LogFilter): boolean {
  return (
    (worker === undefined || line.worker === worker) &&
    (job === undefined || line.job === job) &&
    (request === undefined || line.request === request) &&
    (level === undefined || isAtLeast(line.level, level))
  );
}

interface StoredFile {
  file: string;
  bytes: number;
  changedAt: number;
}

async function logFiles(folder: string): Promise<StoredFile[]> {
  const names = await readdir(folder, { recursive: true });
  const files = names.filter((name) => /\.ndjson(\.1)?$/.test(name));
  const found = await Promise.all(
    files.map(async (name): Promise<StoredFile[]> => {
      const file = path.join(folder, name);
      const known = await stat(file).catch(() => undefined);
      return known === undefined ? [] : [{ file, bytes: known.size, changedAt: known.mtimeMs }];
    }),
  );
  return found.flat();
}
