/**
 * One connection at the edge. It waits for a request, or has one that is being answered, or is over for
 * the edge: ended, or handed to node:http.
 */

import type { Socket } from "node:net";
import { LAST_CHUNK, chunkHead, headText, type AnswerHead } from "./answer.ts";
import type { PlainExchange, Responder } from "./exchange.ts";
import { MAX_BODY_BYTES, MAX_HEAD_BYTES, readPlainHead, type PlainHead } from "./head.ts";

/** A request that comes in pieces, or a connection without any, has this long, ms. */
const PATIENCE_MS = 2000;
/** Pieces of a request that are put together; after that somebody is dribbling. */
const MAX_PIECES = 32;
/** What a client may send while it waits for its answer, bytes. */
const MAX_AHEAD = 128 * 1024;
/** node:http adds this to what it tells its clients, ms: a request under way should still arrive. */
const KEEP_ALIVE_BUFFER_MS = 1000;
/** What node:http says to a request that ends before it is whole. */
const BAD_REQUEST = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
/** Bodies up to this size are written in one piece with the head, bytes. */
const SMALL_BODY = 16 * 1024;

export interface ConnectionOptions {
  respond: Responder;
  keepAliveMs: number;
  /** The edge has nothing more to do with it. */
  onLeft: () => void;
  /** Has node:http serve the connection. */
  serve: () => void;
}

/** A head that has come, to be known again. */
interface Known {
  bytes: Buffer;
  head: PlainHead;
}

export class Connection {
  readonly socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #onData = (chunk: Buffer): void => this.#read(chunk);
  readonly #onEnd = (): void => this.#ended();
  readonly #onError = (): void => void this.socket.destroy();
  readonly #onClose = (): void => this.#closed();
  readonly #onDrain = (): void => this.#exchange?.onDrain?.();
  #state: "open" | "closing" | "over" = "open";
  #exchange: Exchange | undefined;
  /** What has come and has not been understood. */
  #rest: Buffer | undefined;
  #pieces = 0;
  #isTaking = false;
  #known: Known | undefined;
  #hasAnswered = false;
  /** The client has said that no more requests come; it may still wait for answers. */
  #hasEnded = false;
  /** Since when it waits; monotonic, ms. 0: to be found out with the next look. */
  #since = 0;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.socket = socket;
    this.#options = options;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    socket.on("drain", this.#onDrain);
  }

  get isClosing(): boolean {
    return this.#state !== "open";
  }

  get keepAliveMs(): number {
    return this.#options.keepAliveMs;
  }

  /** Ends once it has nothing to do. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    if (this.#exchange !== undefined) return;
    if (this.#isIdle) this.socket.end();
    else this.#handOver(this.#rest);
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Called every now and then with the monotonic time, ms. */
  look(now: number): void {
    if (this.#exchange !== undefined) return;
    if (this.#since === 0) this.#since = now;
    const waitedMs = now - this.#since;
    if (this.#isIdle || this.#hasEnded) {
      if (waitedMs > this.#options.keepAliveMs + KEEP_ALIVE_BUFFER_MS) this.socket.destroy();
    } else if (waitedMs > PATIENCE_MS) this.#handOver(this.#rest);
  }

  /** The answer is out. */
  answered(exchange: Exchange): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = undefined;
    this.#hasAnswered = true;
    this.#since = 0;
    const isThrough = this.#hasEnded && this.#rest === undefined;
    if (this.#state === "closing" || isThrough) this.socket.end();
  }

  /** node:http is to answer it. */
  pass(exchange: Exchange): void {
    const head = this.#known?.bytes;
    if (this.#exchange !== exchange || this.#state === "over" || head === undefined) return;
    this.#exchange = undefined;
    this.#handOver(Buffer.concat([head, exchange.body, this.#rest ?? NOTHING]));
  }

  /** Goes on with what came while the answer was made. */
  proceed(): void {
    if (this.#rest === undefined || this.#isTaking || this.#state !== "open") return;
    this.socket.resume();
    this.#take();
  }

  /** Between two requests. A connection that has not had one is not idle yet, only slow. */
  get #isIdle(): boolean {
    return this.#hasAnswered && this.#rest === undefined;
  }

  #read(chunk: Buffer): void {
    if (this.#state === "over") return;
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = bytes;
    if (this.#exchange === undefined) this.#take();
    else if (bytes.length > MAX_AHEAD) this.socket.pause();
  }

  /** Answers what is whole, one after the other, for as long as answers come at once. */
  #take(): void {
    this.#isTaking = true;
    while (this.#exchange === undefined && this.#state === "open") {
      const bytes = this.#rest;
      if (bytes === undefined || !this.#begin(bytes)) break;
    }
    this.#isTaking = false;
    if (this.#hasEnded && this.#exchange === undefined && this.#state === "open") this.#finish();
  }

  /** Begins with the request at the start of these bytes. False: there is none for the edge. */
  #begin(bytes: Buffer): boolean {
    const known = this.#recognise(bytes);
    if (known === "partial") return this.#wait(bytes);
    if (known === "odd") return this.#handOver(bytes);
    const { head } = known;
    const start = known.bytes.length;
    const end = start + head.bodyBytes;
    if (bytes.length < end) return this.#wait(bytes);
    this.#pieces = 0;
    this.#rest = bytes.length === end ? undefined : bytes.subarray(end);
    const body = head.bodyBytes === 0 ? NOTHING : bytes.subarray(start, end);
    const exchange = new Exchange(this, head, body);
    this.#exchange = exchange;
    if (this.#options.respond(exchange)) return true;
    this.#exchange = undefined;
    return this.#handOver(bytes);
  }

  /** Most clients send the same head again and again. */
  #recognise(bytes: Buffer): Known | "partial" | "odd" {
    const last = this.#known;
    if (last !== undefined && bytes.length >= last.bytes.length) {
      const { length } = last.bytes;
      if (last.bytes.compare(bytes, 0, length, 0, length) === 0) return last;
    }
    const end = bytes.indexOf("\r\n\r\n");
    // What does not begin as a method does is no HTTP; its client should not wait to hear so.
    const isHopeless = bytes.length > MAX_HEAD_BYTES || !isCapital(bytes[0] ?? 0);
    if (end === -1) return isHopeless ? "odd" : "partial";
    if (end > MAX_HEAD_BYTES) return "odd";
    const head = readPlainHead(bytes.toString("latin1", 0, end));
    if (head === undefined) return "odd";
    // A copy: what was read is not kept longer than it is needed.
    this.#known = { bytes: Buffer.from(bytes.subarray(0, end + 4)), head };
    return this.#known;
  }

  #wait(bytes: Buffer): false {
    this.#pieces += 1;
    if (this.#pieces > MAX_PIECES || bytes.length > MAX_HEAD_BYTES + MAX_BODY_BYTES) {
      return this.#handOver(bytes);
    }
    if (this.#pieces === 1) this.#since = 0;
    return false;
  }

  #handOver(bytes: Buffer | undefined): false {
    const { socket } = this;
    this.#leave();
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    socket.off("error", this.#onError);
    socket.off("close", this.#onClose);
    socket.off("drain", this.#onDrain);
    if (this.#hasEnded) return this.#replay(bytes);
    // Resumed by node:http's own listener only when it has not been paused outright.
    socket.pause();
    if (bytes !== undefined) socket.unshift(bytes);
    this.#options.serve();
    socket.resume();
    return false;
  }

  /** What has ended cannot be read once more: node:http is told of it as it would have been by the socket. */
  #replay(bytes: Buffer | undefined): false {
    const { socket } = this;
    this.#options.serve();
    if (bytes !== undefined) socket.emit("data", bytes);
    socket.emit("end");
    return false;
  }

  /** Requests that are there are answered; a part of one is none. */
  #ended(): void {
    this.#hasEnded = true;
    if (this.#exchange !== undefined) this.#exchange.clientEnded();
    else this.#finish();
  }

  /** Nothing more will come, and what is whole has been answered. */
  #finish(): void {
    if (this.#rest !== undefined) this.socket.write(BAD_REQUEST);
    this.socket.end();
  }

  #closed(): void {
    this.#leave();
    this.#exchange?.gone();
  }

  #leave(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#rest = undefined;
    this.#options.onLeft();
  }
}

class Exchange implements PlainExchange {
  readonly head: PlainHead;
  readonly body: Buffer;
  onGone: (() => void) | undefined = undefined;
  onEnded: (() => void) | undefined = undefined;
  onOver: (() => void) | undefined = undefined;
  onDrain: (() => void) | undefined = undefined;
  readonly #connection: Connection;
  #state: "asked" | "begun" | "ended" | "over" = "asked";
  #isChunked = false;
  #isBodiless = false;
  #isGone = false;

  constructor(connection: Connection, head: PlainHead, body: Buffer) {
    this.#connection = connection;
    this.head = head;
    this.body = body;
  }

  get socket(): Socket {
    return this.#connection.socket;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isBegun(): boolean {
    return this.#state !== "asked";
  }

  answer(head: AnswerHead, body: Buffer | string): void {
    if (this.#state !== "asked") return;
    if (typeof body === "string" && head.hasLength && isSmallAscii(body)) {
      this.#state = "ended";
      this.socket.write(this.#headText(head) + body, "latin1");
      this.#flushed();
      return;
    }
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    if (!head.hasLength && !head.isBodiless) {
      this.begin(head);
      this.write(bytes);
      this.end();
      return;
    }
    const start = this.#headText(head);
    const { socket } = this;
    this.#state = "ended";
    if (head.isBodiless || bytes.length === 0) socket.write(start, "latin1");
    else if (bytes.length <= SMALL_BODY) {
      // One write, as long as copying costs less than a second one.
      socket.write(start + bytes.toString("latin1", 0, bytes.length), "latin1");
    } else {
      socket.cork();
      socket.write(start, "latin1");
      socket.write(bytes);
      socket.uncork();
    }
    this.#flushed();
  }

  begin(head: AnswerHead): void {
    if (this.#state !== "asked") return;
    this.#isBodiless = head.isBodiless;
    this.#isChunked = !head.isBodiless && !head.hasLength;
    this.#state = "begun";
    const { socket } = this;
    // What is said next in this turn goes with it.
    socket.cork();
    socket.write(this.#headText(head), "latin1");
    process.nextTick(() => socket.uncork());
  }

  write(bytes: Buffer): boolean {
    if (this.#state !== "begun" || this.#isBodiless || bytes.length === 0) return true;
    const { socket } = this;
    if (!this.#isChunked) return socket.write(bytes);
    socket.cork();
    socket.write(chunkHead(bytes.length), "latin1");
    socket.write(bytes);
    const isRoom = socket.write("\r\n", "latin1");
    socket.uncork();
    return isRoom;
  }

  end(): void {
    if (this.#state !== "begun") return;
    this.#state = "ended";
    if (this.#isChunked) this.socket.write(LAST_CHUNK, "latin1");
    this.#flushed();
  }

  pass(): void {
    if (this.#state !== "asked") return;
    this.#over(undefined);
    this.#connection.pass(this);
  }

  breakOff(): void {
    this.#isGone = true;
    this.onGone = undefined;
    this.socket.destroy();
  }

  clientEnded(): void {
    const { onEnded } = this;
    this.onEnded = undefined;
    onEnded?.();
  }

  /** The connection has ended. */
  gone(): void {
    if (this.#state === "over") return;
    this.#isGone = true;
    this.#over(this.onGone);
  }

  #headText(head: AnswerHead): string {
    const { isClosing, keepAliveMs } = this.#connection;
    const isChunked = !head.isBodiless && !head.hasLength;
    return headText(head, { isChunked, keepAliveMs: isClosing ? undefined : keepAliveMs });
  }

  /** Nearly always the system takes everything at once. */
  #flushed(): void {
    const { socket } = this;
    if (socket.writableLength === 0) this.#done();
    else if (!socket.destroyed) socket.write(NOTHING, () => this.#done());
  }

  #done(): void {
    if (this.#state === "over") return;
    this.#over(undefined);
    this.#connection.answered(this);
    this.#connection.proceed();
  }

  #over(tell: (() => void) | undefined): void {
    this.#state = "over";
    const { onOver } = this;
    this.onGone = undefined;
    this.onEnded = undefined;
    this.onOver = undefined;
    this.onDrain = undefined;
    tell?.();
    onOver?.();
  }
}

function isCapital(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a;
}

/** Written with the head as it is, without a copy in bytes. */
function isSmallAscii(text: string): boolean {
  return text.length > 0 && text.length <= SMALL_BODY && Buffer.byteLength(text) === text.length;
}

const NOTHING = Buffer.alloc(0);
