/**
 * The journal: what happened to recent jobs, in the order in which it happened, in a file of fixed size
 * that is written over and over. Appending to it costs a fraction of a transaction.
 *
 * The file has two halves. A half belongs to one generation: from one checkpoint, which puts everything
 * into the database, to the next. The database says which generation it does not hold yet.
 *
 * Invariants:
 *   1. The database holds everything of the generations before its own.
 *   2. A half is written over only when the checkpoint that put its content into the database is on the
 *      disk.
 *   3. A batch counts as a whole or not at all: its head names its generation, length and checksum.
 *   4. A generation is written to by one process only: behind what a power failure has torn there may be
 *      whole batches, which would follow upon the next process's as if they were its own. So would those
 *      of generations that the database has not come to, when it is older than the journal.
 */

import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";

const HALF_BYTES = 1024 * 1024;
/** Magic, generation, kind, length and checksum of what follows. */
const HEAD_BYTES = 20;
/** Magic and generation. */
const MARK_BYTES = 10;
const MAGIC = 0x4a_4c_53_46;
/** Marks the batch that a generation begins with. */
const OPENING = 1;
/** A character takes this many bytes at most. */
const CHARACTER_BYTES = 3;

const flushFile = promisify(fdatasync);

export interface Batch {
  /** What was recent when the generation began; the one before has it, too. */
  readonly isOpening: boolean;
  readonly text: string;
}

export class Journal {
  readonly #fd: number;
  readonly #bytes = Buffer.allocUnsafe(HALF_BYTES);
  /** When it was opened. */
  readonly #size: number;
  #generation: number;
  /** Where the next batch begins, within the half. */
  #at = 0;
  /** Bytes that the next generation begins with. */
  #prepared = 0;
  #text = "";

  /** Opens the journal, and makes it when it is missing. `generation`: the one the database lacks. */
  constructor(file: string, generation: number) {
    this.#fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#generation = generation;
    this.#size = fstatSync(this.#fd).size;
    // All of it at once: no later write can find the disk full, or has to note a new length.
    const missing = 2 * HALF_BYTES - this.#size;
    if (missing > 0) {
      writeSync(this.#fd, Buffer.alloc(missing), 0, missing, this.#size);
      fsyncSync(this.#fd);
    }
  }

  get generation(): number {
    return this.#generation;
  }

  /** All batches of a generation, in order, up to the first that is not whole. */
  read(generation: number): Batch[] {
    return this.#read(generation).batches;
  }

  /** `end`: where in the half the first batch that is not whole begins. */
  #read(generation: number): { batches: Batch[]; half: Buffer; end: number } {
    const half = this.#half(generation);
    const batches: Batch[] = [];
    let end = 0;
    while (end + HEAD_BYTES <= half.length) {
      const bytes = half.subarray(end);
      const content = contentOf(bytes, generation);
      if (content === undefined) break;
      const isOpening = bytes.readUInt16LE(10) === OPENING;
      batches.push({ isOpening, text: content.toString("utf8") });
      end += HEAD_BYTES + content.length;
    }
    return { batches, half, end };
  }

  #half(generation: number): Buffer {
    const half = Buffer.alloc(HALF_BYTES);
    return half.subarray(0, readSync(this.#fd, half, 0, HALF_BYTES, halfOf(generation)));
  }

  /** Whether anything was ever written for the generation that the database lacks, or for a later one. */
  get isBegun(): boolean {
    const generations = [this.#generation, this.#generation + 1];
    const isMarked = generations.some((one) => this.#half(one).includes(markOf(one)));
    return isMarked || this.#newest > this.#generation;
  }

  /** What was written and cannot be read, as a kill does not leave it. Undefined: nothing. */
  findDamage(): string | undefined {
    const generation = this.#generation;
    const ahead = this.#newest - generation - 1;
    if (ahead > 0) return `the database is older than it, by ${ahead} checkpoints or more`;
    // A new home has none, and neither has one of a version that knew none.
    const isExpected = this.#size > 0 || generation > 1;
    if (this.#size < 2 * HALF_BYTES && isExpected) return "it is not there as a whole";
    const hidden = [generation, generation + 1].filter((one) => {
      const { half, end } = this.#read(one);
      return half.includes(markOf(one), end + 1);
    });
    return hidden.length === 0 ? undefined : "batches behind one that is not whole are not read";
  }

  /** The latest generation with a whole beginning; 0 when there is none. */
  get #newest(): number {
    return Math.max(...[0, 1].map((half) => beginningOf(this.#half(half))));
  }

  /** False when a text of so many characters may not fit any more. */
  hasRoomFor(characters: number): boolean {
    const wanted = (this.#text.length + characters) * CHARACTER_BYTES + HEAD_BYTES;
    return this.#at + wanted <= HALF_BYTES;
  }

  /** Adds to the next batch. */
  append(text: string): void {
    this.#text += text;
  }

  /** True when there is something to write. */
  get isDirty(): boolean {
    return this.#text !== "";
  }

  /** Hands the batch to the operating system. Throws what the system says; then nothing of it counts. */
  write(): void {
    this.#at += this.#write(this.#text, {
      generation: this.#generation,
      at: this.#at,
      isOpening: false,
    });
    this.#text = "";
  }

  /**
   * Hands over what the next generation begins with. Until {@link turn} comes that may happen again. Throws
   * like {@link write}. True: something was written.
   */
  prepare(text: string): boolean {
    // An earlier beginning would count, if this one is empty.
    if (text === "" && this.#prepared === 0) return false;
    this.#prepared = HEAD_BYTES;
    const generation = this.#generation + 1;
    this.#prepared = this.#write(text, { generation, at: 0, isOpening: true });
    return true;
  }

  /** Bytes written. */
  #write(
    text: string,
    { generation, at, isOpening }: { generation: number; at: number; isOpening: boolean },
  ): number {
    const bytes = this.#bytes;
    const length = bytes.write(text, HEAD_BYTES);
    markOf(generation).copy(bytes);
    bytes.writeUInt16LE(isOpening ? OPENING : 0, 10);
    bytes.writeUInt32LE(length, 12);
    const content = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
    bytes.writeUInt32LE(checksum(content, generation), 16);
    const size = HEAD_BYTES + length;
    const written = writeSync(this.#fd, bytes, 0, size, halfOf(generation) + at);
    if (written !== size) throw new Error(`only ${written} of ${size} bytes were written`);
    return size;
  }

  /** Forgets what was appended and not written. */
  discard(): void {
    this.#text = "";
  }

  /** The database holds everything: the next generation begins. */
  turn(): void {
    this.#begin(this.#generation + 1);
  }

  /** For a journal that was opened just now and read: {@link turn} to a generation of which it has nothing. */
  turnToNew(): void {
    this.#begin(Math.max(this.#generation, this.#newest) + 1);
  }

  #begin(generation: number): void {
    this.#generation = generation;
    this.#at = this.#prepared;
    this.#prepared = 0;
    this.#text = "";
  }

  flush(): Promise<void> {
    return flushFile(this.#fd);
  }

  flushNow(): void {
    fdatasyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function halfOf(generation: number): number {
  return (generation % 2) * HALF_BYTES;
}

/** Which generation a half has the beginning of; 0 when that is not whole. */
function beginningOf(half: Buffer): number {
  if (half.length < HEAD_BYTES) return 0;
  const generation = half.readUIntLE(4, 6);
  return contentOf(half, generation) === undefined ? 0 : generation;
}

/** What each head of a generation begins with. */
function markOf(generation: number): Buffer {
  const mark = Buffer.alloc(MARK_BYTES);
  mark.writeUInt32LE(MAGIC, 0);
  mark.writeUIntLE(generation, 4, 6);
  return mark;
}

function checksum(bytes: Buffer, generation: number): number {
  return crc32(bytes, generation % 2 ** 32);
}

/** What the batch at the beginning of `bytes` holds. Undefined: there is none of this generation. */
function contentOf(bytes: Buffer, generation: number): Buffer | undefined {
  if (!bytes.subarray(0, MARK_BYTES).equals(markOf(generation))) return undefined;
  const text = bytes.subarray(HEAD_BYTES, HEAD_BYTES + bytes.readUInt32LE(12));
  const isWhole = text.length === bytes.readUInt32LE(12);
  return isWhole && checksum(text, generation) === bytes.readUInt32LE(16) ? text : undefined;
}
