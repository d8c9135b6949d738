/**
 * The log of one endpoint, or of events: a file of JSON lines and the one before it. Everything that touches them
 * happens one after the other. Bounded: at half of what may be kept the file becomes the
 * earlier one, and what waits to be written is dropped beyond 1 MiB.
 */

import { appendFile, mkdir, open, rename, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import type { Clock } from "../../kit/clock.ts";

const MAX_PENDING_BYTES = 1024 * 1024;
/** Lines arriving within this time are written together, ms. */
const FLUSH_MS = 50;
/** Read at once, from the end of a file, bytes. */
const READ_BYTES = 256 * 1024;
/** More lines that fit are not looked for: of what is filtered the newest part is read. */
const MAX_READ_BYTES = 64 * 1024 * 1024;

/** What every line has. */
export interface Line {
  /** ISO 8601. */
  time: string;
}

export type LineListener<L extends Line> = (line: L) => void;

export interface Wanted<L extends Line> {
  count: number;
  fits: (line: L) => boolean;
  /** Lines before this time, ISO 8601, are not wanted: looking ends there. */
  since: string | undefined;
}

export interface LogFileOptions {
  file: string;
  /** Both files together, bytes. */
  maxBytes: number;
  clock: Clock;
  onError: (error: unknown) => void;
  /** A file has become the earlier one. */
  onRotated: () => void;
}

export class LogFile<L extends Line> {
  readonly listeners = new Set<LineListener<L>>();
  readonly #options: LogFileOptions;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #work: Promise<void> = Promise.resolve();
  #cancelFlush: (() => void) | undefined;

  constructor(options: LogFileOptions) {
    this.#options = options;
  }

  add(line: L): void {
    for (const listener of this.listeners) listener(line);
    const text = `${JSON.stringify(line)}\n`;
    if (this.#pendingBytes + text.length > MAX_PENDING_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#pending.push(text);
    this.#pendingBytes += text.length;
    this.#cancelFlush ??= this.#options.clock.after(FLUSH_MS, () => void this.flush());
  }

  flush(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#work = this.#work.then(() => this.#write()).catch(this.#options.onError);
    return this.#work;
  }

  /**
   * The last lines that are wanted, and from then on every further one to `listener`: none is missed,
   * none comes twice, because the listener joins in the turn in which the unwritten lines are read.
   */
  async tail(wanted: Wanted<L>, listener?: LineListener<L>): Promise<L[]> {
    await this.flush();
    let lines: L[] = [];
    const read = this.#work.then(async () => {
      const written = await this.#readBack(wanted);
      const unwritten = this.#pending
        .flatMap((text) => parseLine<L>(text))
        .filter((line) => fitsIn(line, wanted));
      lines = wanted.count === 0 ? [] : [...written, ...unwritten].slice(-wanted.count);
      if (listener !== undefined) this.listeners.add(listener);
    });
    this.#work = read.catch(this.#options.onError);
    await read;
    return lines;
  }

  async #readBack(wanted: Wanted<L>): Promise<L[]> {
    const found: L[] = [];
    if (wanted.count === 0) return found;
    const { file } = this.#options;
    for (const part of [file, `${file}.1`]) {
      if (!(await readBack(part, wanted, found))) break;
    }
    return found.reverse();
  }

  async #write(): Promise<void> {
    if (this.#pending.length === 0) return;
    const { file } = this.#options;
    const dropped = this.#dropped;
    const text = this.#pending.join("");
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#dropped = 0;
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await this.#rotate();
    await appendFile(file, text, { mode: 0o600 });
    if (dropped > 0) this.#options.onError(new Error(`${dropped} lines were not written`));
  }

  async #rotate(): Promise<void> {
    const { file, maxBytes, onRotated } = this.#options;
    const size = await stat(file).then(
      (found) => found.size,
      () => 0,
    );
    if (size < maxBytes / 2) return;
    await rename(file, `${file}.1`);
    onRotated();
  }
}

/** Adds wanted lines of a file, newest first. False when no earlier ones are wanted. */
async function readBack<L extends Line>(
  file: string,
  wanted: Wanted<L>,
  found: L[],
): Promise<boolean> {
  const handle = await open(file, "r").catch(() => undefined);
  if (handle === undefined) return true;
  try {
    for await (const text of linesBackwards(handle)) {
      for (const line of parseLine<L>(text)) {
        if (wanted.since !== undefined && line.time < wanted.since) return false;
        if (wanted.fits(line)) found.push(line);
      }
      if (found.length >= wanted.count) return false;
    }
    return true;
  } finally {
    await handle.close();
  }
}

/** The lines of a file, last first. */
async function* linesBackwards(handle: FileHandle): AsyncGenerator<string> {
  const { size } = await handle.stat();
  const least = Math.max(0, size - MAX_READ_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  for (let end = size; end > least;) {
    const start = Math.max(least, end - READ_BYTES);
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    end = start;
    // The beginning of what was read may be the end of a line that begins before it.
    const bytes = Buffer.concat([buffer.subarray(0, bytesRead), rest]);
    const first = start === 0 ? 0 : bytes.indexOf(10) + 1 || bytes.length;
    rest = bytes.subarray(0, first);
    const texts = bytes.toString("utf8", first).split("\n");
    for (const text of texts.reverse()) if (text !== "") yield text;
  }
}

/** A line that a crash has broken is left out. */
function parseLine<L extends Line>(text: string): L[] {
  try {
    return [JSON.parse(text) as L];
  } catch {
    return [];
  }
}

function fitsIn<L extends Line>(line: L, { since, fits }: Wanted<L>): boolean {
  return (since === undefined || line.time >= since) && fits(line);
}
