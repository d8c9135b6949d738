/**
 * A worker's output, cut into lines. Bounded twice: a line without an end is cut into pieces, and a
 * flood is dropped, so that neither memory nor the event loop belongs to a worker that talks too much.
 */

import { StringDecoder } from "node:string_decoder";
import type { WorkerLine } from "../../contract/compute.ts";
import type { Clock } from "../../kit/clock.ts";

/** Longer lines arrive in pieces of this many characters. */
const MAX_LINE = 64 * 1024;
/** What a worker may write in a second, bytes. The rest of that second is dropped, and said so. */
const MAX_BYTES_PER_SECOND = 1024 * 1024;

export interface LinesOptions {
  stream: WorkerLine["stream"];
  clock: Clock;
  onLine: (line: WorkerLine) => void;
}

export class Lines {
  readonly #options: LinesOptions;
  readonly #decoder = new StringDecoder("utf8");
  #rest = "";
  #secondStart = Number.NEGATIVE_INFINITY;
  #bytes = 0;
  #dropped = 0;

  constructor(options: LinesOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    if (!this.#admit(chunk.length)) return;
    const text = this.#rest + this.#decoder.write(chunk);
    let from = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", from)) {
      this.#emit(text.slice(from, end));
      from = end + 1;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length < MAX_LINE) return;
    this.#emit(this.#rest);
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
    if (now - this.#secondStart >= 1000) {
      this.#reportDropped();
      [this.#secondStart, this.#bytes] = [now, 0];
    }
    this.#bytes += bytes;
    if (this.#bytes <= MAX_BYTES_PER_SECOND) return true;
    if (this.#dropped === 0) {
      // The piece before the gap and the piece after it are not one line.
      this.#rest = "";
      // It may say nothing more that would bring the note with it.
      this.#options.clock.after(1000, () => this.#reportDropped());
    }
    this.#dropped += bytes;
    return false;
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#write(`… ${dropped} bytes of output dropped: a worker may write 1 MiB a second`);
  }

  #emit(line: string): void {
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    for (let from = 0; from < text.length || from === 0; from += MAX_LINE) {
      this.#write(text.slice(from, from + MAX_LINE));
    }
  }

  #write(text: string): void {
    const { stream, clock, onLine } = this.#options;
    onLine({ stream, text, at: clock.now() });
  }
}
