/**
 * A board: a few values that one thread writes and another reads, in memory that both see. Writing
 * wakes nobody and waits for nobody, which a message to the other thread would; and what is on the
 * board can be read however busy the writer is.
 *
 *   memory   version, odd while something is being written | number of slots | bytes of a slot | slots
 *   slot     bytes of the text, 0 for an empty one | the value as JSON
 */

const HEAD_BYTES = 16;
const FIRST_SLOTS = 64;
const FIRST_SLOT_BYTES = 512;
const LENGTH_BYTES = 4;

/** The writing side. */
export class Board {
  readonly #onMoved: (memory: SharedArrayBuffer) => void;
  readonly #values = new Map<string, { slot: number; text: string }>();
  #free: number[] = [];
  #memory: SharedArrayBuffer;
  #head: Int32Array;
  #bytes: Buffer;

  /** `onMoved`: the board was too small; readers have to look into this memory from now on. */
  constructor(onMoved: (memory: SharedArrayBuffer) => void) {
    this.#onMoved = onMoved;
    this.#memory = newMemory(FIRST_SLOTS, FIRST_SLOT_BYTES);
    this.#head = new Int32Array(this.#memory);
    this.#bytes = Buffer.from(this.#memory);
    this.#free = slotsFrom(0, FIRST_SLOTS);
  }

  get memory(): SharedArrayBuffer {
    return this.#memory;
  }

  put(key: string, value: unknown): void {
    this.remove(key);
    const text = JSON.stringify(value);
    const slot = this.#free.pop() ?? -1;
    this.#values.set(key, { slot, text });
    // UTF-8 needs at most three bytes for a UTF-16 unit.
    if (slot === -1 || text.length * 3 + LENGTH_BYTES > this.#slotBytes) this.#move();
    else this.#change(() => this.#write(slot, text));
  }

  remove(key: string): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#free.push(value.slot);
    this.#change(() => this.#write(value.slot, ""));
  }

  get #slotBytes(): number {
    return this.#head[2] ?? 0;
  }

  /** To memory with twice the room that is needed. */
  #move(): void {
    const values = [...this.#values.values()];
    const longest = Math.max(...values.map(({ text }) => text.length * 3 + LENGTH_BYTES));
    const slots = Math.max(FIRST_SLOTS, values.length * 2);
    this.#memory = newMemory(slots, Math.max(FIRST_SLOT_BYTES, longest * 2));
    this.#head = new Int32Array(this.#memory);
    this.#bytes = Buffer.from(this.#memory);
    for (const [slot, value] of values.entries()) {
      value.slot = slot;
      this.#write(slot, value.text);
    }
    this.#free = slotsFrom(values.length, slots);
    this.#onMoved(this.#memory);
  }

  #change(write: () => void): void {
    Atomics.add(this.#head, 0, 1);
    write();
    Atomics.add(this.#head, 0, 1);
  }

  #write(slot: number, text: string): void {
    const at = HEAD_BYTES + slot * this.#slotBytes;
    const length = text === "" ? 0 : this.#bytes.write(text, at + LENGTH_BYTES);
    Atomics.store(this.#head, at / LENGTH_BYTES, length);
  }
}

/** What stands on the board, from any thread. */
export function readBoard<T>(memory: SharedArrayBuffer): T[] {
  const head = new Int32Array(memory);
  const bytes = Buffer.from(memory);
  for (;;) {
    const version = Atomics.load(head, 0);
    const texts = textsOf(head, bytes);
    // Otherwise it has changed under the reader; a change takes a microsecond.
    if (version % 2 === 0 && Atomics.load(head, 0) === version) {
      return texts.map((text) => JSON.parse(text) as T);
    }
  }
}

function textsOf(head: Int32Array, bytes: Buffer): string[] {
  const [, slots = 0, slotBytes = 0] = head;
  const texts: string[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const at = HEAD_BYTES + slot * slotBytes;
    const length = Atomics.load(head, at / LENGTH_BYTES);
    const start = at + LENGTH_BYTES;
    if (length > 0) texts.push(bytes.toString("utf8", start, start + length));
  }
  return texts;
}

function newMemory(slots: number, slotBytes: number): SharedArrayBuffer {
  const aligned = Math.ceil(slotBytes / LENGTH_BYTES) * LENGTH_BYTES;
  const memory = new SharedArrayBuffer(HEAD_BYTES + slots * aligned);
  new Int32Array(memory).set([0, slots, aligned]);
  return memory;
}

/** The highest first, so that the lowest is taken first. */
function slotsFrom(first: number, count: number): number[] {
  return Array.from({ length: count - first }, (_, index) => count - 1 - index);
}
