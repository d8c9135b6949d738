/**
 * A connection that carries the frames of contract/lb-link.ts. What one turn of the event loop has to
 * say goes out in one write, however many streams it is about.
 */

import {
  FRAME,
  FRAME_HEADER_BYTES,
  FrameReader,
  MAX_HEAD_BYTES,
  headText,
  writeFrameHeader,
  type Frame,
} from "../contract/lb-link.ts";

/** What a link needs of a connection: a socket of node:net has it. */
export interface FrameSocket {
  readonly destroyed: boolean;
  write(bytes: Buffer): unknown;
  cork(): void;
  uncork(): void;
  end(): unknown;
  destroy(): unknown;
  on(event: "data", take: (chunk: Buffer) => void): unknown;
  on(event: "error", take: (cause: Error) => void): unknown;
  once(event: "close", run: () => void): unknown;
}

export interface FrameHandlers {
  /** Throws for what is against the rules: the link is closed. */
  onFrame(frame: Frame): void;
  /** Everything that one read has brought has been handed over. */
  onRead?(): void;
  /** Called once, whoever ended it. */
  onClose(cause: Error): void;
}

const BATCH_BYTES = 64 * 1024;
/** Payloads up to this size are copied next to their headers; larger ones are written as they are. */
const MAX_COPIED = 8 * 1024;

export class FrameLink {
  readonly #socket: FrameSocket;
  readonly #handlers: FrameHandlers;
  readonly #reader = new FrameReader();
  /** Where small frames are put together; up to `#start` it belongs to earlier writes. */
  #batch = Buffer.allocUnsafeSlow(BATCH_BYTES);
  #start = 0;
  #end = 0;
  /** Full batches and large payloads that go before the batch. */
  #before: Buffer[] = [];
  #isFlushPlanned = false;
  #flushes = 0;
  #cause = new Error("the link was closed");

  constructor(socket: FrameSocket, handlers: FrameHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (cause) => {
      this.#cause = cause;
    });
    socket.once("close", () => handlers.onClose(this.#cause));
  }

  /** Counts the writes: what was sent before the count changed has been handed to the system. */
  get flushes(): number {
    return this.#flushes;
  }

  send(frame: Frame): void {
    const { payload } = frame;
    const { length } = payload;
    const isCopied = length <= MAX_COPIED;
    this.#reserve(FRAME_HEADER_BYTES + (isCopied ? length : 0));
    writeFrameHeader(this.#batch, this.#end, { ...frame, length });
    this.#end += FRAME_HEADER_BYTES;
    if (isCopied) {
      this.#batch.set(payload, this.#end);
      this.#end += length;
    } else {
      this.#closeBatch();
      this.#before.push(payload);
    }
    this.#plan();
  }

  /** Sends a head. False, and nothing is sent, when it is too long. */
  sendHead(stream: number, parts: readonly string[], isLast: boolean): boolean {
    const text = headText(parts);
    const { length } = text;
    if (length > MAX_HEAD_BYTES - FRAME_HEADER_BYTES) return false;
    this.#reserve(FRAME_HEADER_BYTES + length);
    writeFrameHeader(this.#batch, this.#end, { type: FRAME.head, stream, length, isLast });
    this.#batch.write(text, this.#end + FRAME_HEADER_BYTES, length, "latin1");
    this.#end += FRAME_HEADER_BYTES + length;
    this.#plan();
    return true;
  }

  grant(stream: number, bytes: number): void {
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(bytes);
    this.send({ type: FRAME.window, stream, payload, isLast: false });
  }

  reset(stream: number): void {
    this.send({ type: FRAME.reset, stream, payload: NOTHING, isLast: false });
  }

  /** Nothing more will be sent. */
  end(): void {
    this.#flush();
    this.#socket.end();
  }

  /** Idempotent. */
  close(cause?: Error): void {
    if (cause !== undefined) this.#cause = cause;
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    try {
      this.#reader.read(chunk, (frame) => this.#handlers.onFrame(frame));
      this.#handlers.onRead?.();
    } catch (cause) {
      this.close(cause as Error);
    }
  }

  /** Makes room for so many bytes in one piece. */
  #reserve(bytes: number): void {
    if (this.#end + bytes <= BATCH_BYTES) return;
    this.#closeBatch();
    this.#batch = Buffer.allocUnsafeSlow(BATCH_BYTES);
    [this.#start, this.#end] = [0, 0];
  }

  #closeBatch(): void {
    if (this.#end === this.#start) return;
    this.#before.push(this.#batch.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #plan(): void {
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#isFlushPlanned = false;
    this.#closeBatch();
    const pieces = this.#before;
    if (pieces.length === 0) return;
    this.#before = [];
    this.#flushes += 1;
    if (this.#socket.destroyed) return;
    if (pieces.length > 1) this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    if (pieces.length > 1) this.#socket.uncork();
  }
}

const NOTHING = Buffer.alloc(0);
