/**
 * The request link: one connection over which a server sends load-balanced requests to a worker of
 * ours and gets the answers, many at a time. It carries what HTTP/1.1 would carry, and costs a fraction
 * of it. The worker listens on a second socket beside its HTTP one, greets with {@link LB_LINK_GREETING},
 * and from then on both sides write frames:
 *
 *   length  4 bytes    of the payload, big-endian
 *   stream  4 bytes    one request and its answer; the server numbers them, from 1
 *   type    1 byte     FRAME, and LAST when this side has said all it has to say on this stream
 *   payload
 *
 *   head     server: method, target, names and values; worker: status, reason, names and values.
 *            Latin-1 as on the wire of HTTP, separated by zero bytes
 *   body     bytes
 *   reset    this side is no longer interested in the stream
 *   window   4 bytes: so many more bytes of body may come
 *   drain    worker, stream 0: no new streams, please; the server ends the connection after its last
 *
 *   1. A side has at most WINDOW_BYTES of body of a stream on their way that the other has not granted.
 *   2. What comes for a stream that is over, or was reset, is ignored.
 *   3. What is no frame ends the link, and with it its streams.
 */

/** The worker's first bytes. Another version is another link. */
export const LB_LINK_GREETING = "flash-lb/1\n";

/** Where the worker listens, beside the socket of its HTTP server. */
export function linkPathOf(socketPath: string): string {
  return `${socketPath}.lb`;
}

export const FRAME = { head: 1, body: 2, reset: 3, window: 4, drain: 5 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];
/** Added to the type of a stream's last frame of this side. */
export const LAST = 0x80;

/** Body of one stream that may be under way unasked, bytes. It is what a slow reader costs. */
export const WINDOW_BYTES: number = 128 * 1024;
/** Node refuses heads over 16 KiB on HTTP; a worker's answer may have some more. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
export const FRAME_HEADER_BYTES = 9;

const MAX_STREAM = 0xffff_ffff;

export interface Frame {
  type: FrameType;
  stream: number;
  payload: Buffer;
  isLast: boolean;
}

/** Writes a frame's header into `target`; its payload has to follow. */
export function writeFrameHeader(
  target: Buffer,
  offset: number,
  { length, stream, type, isLast }: { length: number } & Omit<Frame, "payload">,
): void {
  target.writeUInt32BE(length, offset);
  target.writeUInt32BE(stream, offset + 4);
  target[offset + 8] = isLast ? type | LAST : type;
}

/** The number after this one. There are none so late that they could meet an earlier stream's frames. */
export function nextStream(stream: number): number {
  return stream >= MAX_STREAM ? 1 : stream + 1;
}

/** A head as text. No part may hold a zero, which HTTP does not allow either. */
export function headText(parts: readonly string[]): string {
  return parts.join("\0");
}

/** The parts of a head. */
export function headParts(payload: Buffer): string[] {
  return payload.toString("latin1").split("\0");
}

/** Cuts what a connection brings into frames. */
export class FrameReader {
  /** What has come of a frame that is not whole. */
  #parts: Buffer[] = [];
  #length = 0;
  /** Bytes that are needed before there is something to do. */
  #needed = FRAME_HEADER_BYTES;

  /** Hands over the frames that are complete now. Throws a RangeError when something is no frame. */
  read(chunk: Buffer, take: (frame: Frame) => void): void {
    let bytes = chunk;
    if (this.#length > 0) {
      this.#parts.push(chunk);
      this.#length += chunk.length;
      // Joined once, not grown: a large frame comes in many pieces.
      if (this.#length < this.#needed) return;
      bytes = Buffer.concat(this.#parts, this.#length);
    }
    const rest = bytes.subarray(this.#readWhole(bytes, take));
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
  }

  /** Returns where the frame begins that is not whole. */
  #readWhole(bytes: Buffer, take: (frame: Frame) => void): number {
    let start = 0;
    for (;;) {
      this.#needed = FRAME_HEADER_BYTES;
      if (bytes.length - start < FRAME_HEADER_BYTES) return start;
      const length = bytes.readUInt32BE(start);
      const mark = bytes[start + 8] ?? 0;
      const type = checkedType(mark & ~LAST, length);
      this.#needed += length;
      const end = start + this.#needed;
      if (bytes.length < end) return start;
      take({
        type,
        stream: bytes.readUInt32BE(start + 4),
        payload: bytes.subarray(start + FRAME_HEADER_BYTES, end),
        isLast: (mark & LAST) !== 0,
      });
      start = end;
    }
  }
}

/** Checked before the payload has come: nobody makes the other side wait for, or keep, gigabytes. */
function checkedType(type: number, length: number): FrameType {
  if (type === FRAME.head && length <= MAX_HEAD_BYTES) return type;
  if (type === FRAME.body && length <= WINDOW_BYTES) return type;
  if (type === FRAME.window && length === 4) return type;
  if ((type === FRAME.reset || type === FRAME.drain) && length === 0) return type;
  throw new RangeError(`no frame has type ${type} and ${length} bytes`);
}

/** The sending half of one stream's body: holds back what the other side has not granted. */
export class Outflow {
  readonly #send: (bytes: Buffer, isLast: boolean) => void;
  #window = WINDOW_BYTES;
  #waiting: Buffer[] = [];
  #isEnding = false;
  #onDrain: (() => void) | undefined;

  constructor(send: (bytes: Buffer, isLast: boolean) => void) {
    this.#send = send;
  }

  /** False: enough for now, until `onDrain`. */
  write(bytes: Buffer): boolean {
    if (bytes.length === 0) return this.#waiting.length === 0;
    if (this.#waiting.length > 0 || bytes.length > this.#window) {
      this.#waiting.push(bytes);
      this.#flush();
      return this.#waiting.length === 0;
    }
    this.#window -= bytes.length;
    this.#send(bytes, false);
    return true;
  }

  /** After the last of the body; with what is left of it. */
  end(bytes: Buffer = NOTHING): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    if (this.#waiting.length === 0 && bytes.length <= this.#window) {
      this.#window -= bytes.length;
      this.#send(bytes, true);
    } else {
      this.#waiting.push(bytes);
      this.#flush();
    }
  }

  /** Called whenever `write` has said false and all of it has since been sent. */
  onDrain(run: () => void): void {
    this.#onDrain = run;
  }

  /** The other side takes so many more. */
  grant(bytes: number): void {
    this.#window += bytes;
    if (this.#waiting.length === 0) return;
    this.#flush();
    if (this.#waiting.length === 0 && !this.#isEnding) this.#onDrain?.();
  }

  #flush(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const isWhole = next.length <= this.#window;
      if (!isWhole && this.#window === 0) return;
      const part = isWhole ? next : next.subarray(0, this.#window);
      this.#window -= part.length;
      if (isWhole) this.#waiting.shift();
      else this.#waiting[0] = next.subarray(part.length);
      this.#send(part, this.#isEnding && this.#waiting.length === 0);
    }
  }
}

/** The receiving half: counts what has come, and grants more as it is used up. */
export class Inflow {
  readonly #grant: (bytes: number) => void;
  #unused = 0;
  #owed = 0;

  constructor(grant: (bytes: number) => void) {
    this.#grant = grant;
  }

  /** So much has come. False: more than was granted. */
  came(bytes: number): boolean {
    this.#unused += bytes;
    return this.#unused + this.#owed <= WINDOW_BYTES;
  }

  /** So much has been passed on. */
  used(bytes: number): void {
    this.#unused -= bytes;
    this.#owed += bytes;
    // Seldom: small bodies are over before they need more room.
    if (this.#owed < WINDOW_BYTES / 2) return;
    const granted = this.#owed;
    this.#owed = 0;
    this.#grant(granted);
  }
}

const NOTHING: Buffer = Buffer.alloc(0);
