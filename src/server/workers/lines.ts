/**
 * A worker's output, cut into lines, each with what its tag says (contract/logs.ts). Bounded, so that
 * neither memory nor the event loop nor the disk belongs to a worker that talks too much:
 *
 *   L1  a line without an end comes in pieces, marked as such;
 *   L2  what is over a second's share is dropped, and said to be;
 *   L3  a worker that goes on even so is not read for the rest of that second: it waits in `write`.
 *
 * What a terminal would act upon is taken out: a log is read on somebody's screen.
 */

import { StringDecoder } from "node:string_decoder";
import { stripVTControlCharacters } from "node:util";
import type { WorkerLine } from "../../contract/compute.ts";
import { readTag, type LineTag } from "../../contract/logs.ts";
import type { Clock } from "../../kit/clock.ts";

/** Longer lines arrive in pieces of this many characters. */
const MAX_LINE = 64 * 1024;
/** What a worker may write in a second, bytes. */
const MAX_BYTES_PER_SECOND = 1024 * 1024;
/** A line counts for so many bytes more: half a million of nothing would cost more than a megabyte of text. */
const LINE_BYTES = 64;
/** What is read of it in a second to be dropped, bytes; the pipe holds the rest back. */
const MAX_DROPPED_PER_SECOND = 8 * MAX_BYTES_PER_SECOND;
const SECOND_MS = 1000;
const LINE_FEED = 10;

export interface LinesOptions {
  stream: WorkerLine["stream"];
  clock: Clock;
  onLine: (line: WorkerLine) => void;
  /** Called with true when no more should be read for now, and with false when it may again. */
  onPause?: (isPaused: boolean) => void;
}

export class Lines {
  readonly #options: LinesOptions;
  readonly #decoder = new StringDecoder("utf8");
  #rest = "";
  /** Of the line in `#rest`, whose beginning has been emitted already. */
  #tag: LineTag | undefined;
  /** The rest of a line whose beginning was dropped is dropped as well. */
  #isSkipping = false;
  #secondStart = Number.NEGATIVE_INFINITY;
  #bytes = 0;
  #dropped = 0;

  constructor(options: LinesOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    if (!this.#admit(chunk.length)) {
      this.#isSkipping = chunk.at(-1) !== LINE_FEED;
      return;
    }
    const text = this.#rest + this.#decoder.write(chunk);
    let from = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", from)) {
      this.#emit(text.slice(from, end));
      from = end + 1;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length < MAX_LINE) return;
    this.#emitPiece(this.#rest);
    this.#rest = "";
  }

  /** The stream is over: what is left is a line, too. */
  end(): void {
    const rest = this.#rest + this.#decoder.end();
    this.#rest = "";
    if (rest !== "") this.#emit(rest);
    this.#reportDropped();
  }

  #admit(bytes: number): boolean {
    const now = this.#options.clock.elapsed();
    if (now - this.#secondStart >= SECOND_MS) {
      this.#reportDropped();
      [this.#secondStart, this.#bytes] = [now, 0];
    }
    this.#bytes += bytes;
    if (this.#bytes <= MAX_BYTES_PER_SECOND) return true;
    if (this.#dropped === 0) this.#beginToDrop();
    this.#dropped += bytes; // L2
    if (this.#dropped > MAX_DROPPED_PER_SECOND) this.#options.onPause?.(true); // L3
    return false;
  }

  #beginToDrop(): void {
    // The piece before the gap and the piece after it are not one line.
    this.#rest = "";
    this.#tag = undefined;
    // It may say nothing more that would bring the note with it.
    this.#options.clock.after(SECOND_MS, () => {
      this.#reportDropped();
      this.#options.onPause?.(false);
    });
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    const text = `… ${dropped} bytes of output dropped: a worker may write 1 MiB a second`;
    this.#write({ text, level: "warn" });
  }

  /** A whole line, or the last piece of one. */
  #emit(line: string): void {
    this.#bytes += LINE_BYTES;
    let rest = line;
    while (rest.length > MAX_LINE) {
      this.#emitPiece(rest.slice(0, MAX_LINE));
      rest = rest.slice(MAX_LINE);
    }
    const tag = this.#tag;
    this.#tag = undefined;
    if (this.#isSkipping) {
      this.#isSkipping = false;
      return;
    }
    const tagged = tag === undefined ? readTag(rest) : undefined;
    const text = tagged?.text ?? rest;
    this.#writeTagged(tag ?? tagged?.tag, text.endsWith("\r") ? text.slice(0, -1) : text);
  }

  /** A piece of a line that goes on. */
  #emitPiece(piece: string): void {
    if (this.#isSkipping) return;
    const tagged = this.#tag === undefined ? readTag(piece) : undefined;
    this.#tag ??= tagged?.tag ?? {};
    this.#writeTagged(this.#tag, tagged?.text ?? piece, true); // L1
  }

  #writeTagged(tag: LineTag | undefined, text: string, isCut = false): void {
    const cut = isCut ? { cut: true as const } : {};
    if (tag === undefined) {
      this.#write({ text, ...cut });
      return;
    }
    const { message, ...facts } = tag;
    this.#write({ ...facts, text: message ?? text, ...cut });
  }

  #write({ text, ...facts }: Omit<WorkerLine, "stream" | "at"> & Partial<WorkerLine>): void {
    const { stream, clock, onLine } = this.#options;
    onLine({ stream, ...facts, text: readable(text), at: clock.now() });
  }
}

// oxlint-disable-next-line no-control-regex -- these are what is looked for
const CONTROLS = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/;
// oxlint-disable-next-line no-control-regex -- the same
const ALL_CONTROLS = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F]+/g;

/** Text without terminal sequences. Of what was written over itself the last state is left. */
function readable(text: string): string {
  if (!CONTROLS.test(text)) return text;
  return text.split("\n").map(readableLine).join("\n");
}

function readableLine(line: string): string {
  const plain = stripVTControlCharacters(line);
  const states = plain.split("\r").filter((state) => state !== "");
  return (states.at(-1) ?? "").replace(ALL_CONTROLS, "\uFFFD");
}
