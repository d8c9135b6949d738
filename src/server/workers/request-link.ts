/**
 * A request link, server side: requests to one worker of ours, many at a time, over one connection.
 * The frames are those of contract/lb-link.ts.
 *
 *   1  Every stream ends once: with its answer's last frame, with a reset, or with the link.
 *   2  A worker that sends what is no frame, or more than was granted, loses its link and no more:
 *      it is served over HTTP.
 *   3  After the worker's `drain` no stream begins, and the connection ends after the last one.
 */

import net from "node:net";
import {
  FRAME,
  Inflow,
  LB_LINK_GREETING,
  Outflow,
  nextStream,
  type Frame,
} from "../../contract/lb-link.ts";
import { deferred } from "../../kit/abort.ts";
import { FrameLink } from "../../kit/frame-link.ts";

/** A worker that listens greets at once; one that does not in this time, ms, has no link. */
const GREETING_MS = 5000;

/** How the answer comes. After `onReset`, `onLost` or a last frame nothing comes any more. */
export interface StreamEvents {
  /** A head as contract/lb-link.ts writes it; nothing about it has been checked. */
  onHead(payload: Buffer, isLast: boolean): void;
  onBody(bytes: Buffer, isLast: boolean): void;
  /** The worker gives up. */
  onReset(): void;
  /** The link has ended; `hadArrived` says whether the request may have reached the worker. */
  onLost(cause: Error, hadArrived: boolean): void;
}

export class RequestStream {
  readonly events: StreamEvents;
  readonly #link: RequestLink;
  readonly #id: number;
  /** Writes of the link before this stream's first. */
  readonly #since: number;
  hasHead = false;
  hasBody = false;
  // Made when needed: most bodies go in one frame with the head, and come back in one.
  #out: Outflow | undefined;
  #in: Inflow | undefined;

  constructor(
    link: RequestLink,
    { id, since, events }: { id: number; since: number; events: StreamEvents },
  ) {
    this.#link = link;
    this.#id = id;
    this.#since = since;
    this.events = events;
  }

  get out(): Outflow {
    return (this.#out ??= new Outflow((payload, isLast) =>
      this.#link.send({ type: FRAME.body, stream: this.#id, payload, isLast }),
    ));
  }

  get in(): Inflow {
    return (this.#in ??= new Inflow((bytes) => this.#link.grant(this.#id, bytes)));
  }

  get hadArrived(): boolean {
    return this.#link.flushes > this.#since;
  }

  /** Nobody waits for the rest. Idempotent. */
  reset(): void {
    this.#link.reset(this.#id);
  }
}

export class RequestLink {
  readonly #streams = new Map<number, RequestStream>();
  readonly #frames: FrameLink;
  readonly #ended = deferred<void>();
  #lastStream = 0;
  #isOpen = true;

  /** Resolves with undefined when nobody listens there or it is no link of this version. */
  static async connect(path: string): Promise<RequestLink | undefined> {
    const socket = net.connect({ path });
    const rest = await greeting(socket);
    if (rest !== undefined) return new RequestLink(socket, rest);
    socket.destroy();
    return undefined;
  }

  private constructor(socket: net.Socket, rest: Buffer) {
    this.#frames = new FrameLink(socket, {
      onFrame: (frame) => this.#take(frame),
      onClose: (cause) => this.#closed(cause),
    });
    if (rest.length > 0) socket.unshift(rest);
    socket.resume();
  }

  /** It takes new streams. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  get flushes(): number {
    return this.#frames.flushes;
  }

  /** Resolves when the connection has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Sends a request's head; `isLast`: there is no body. Undefined when it is too long for a frame. */
  open(
    head: readonly string[],
    { isLast, events }: { isLast: boolean; events: StreamEvents },
  ): RequestStream | undefined {
    const id = this.#nextId();
    if (!this.#frames.sendHead(id, head, isLast)) return undefined;
    return this.#opened(id, events);
  }

  /** Sends a whole request: a head as contract/lb-link.ts writes it, and a body within the first window. */
  openWhole(request: { head: Buffer; body: Buffer }, events: StreamEvents): RequestStream {
    const stream = this.#nextId();
    const isLast = request.body.length === 0;
    this.#frames.send({ type: FRAME.head, stream, payload: request.head, isLast });
    if (!isLast)
      this.#frames.send({ type: FRAME.body, stream, payload: request.body, isLast: true });
    return this.#opened(stream, events);
  }

  #opened(id: number, events: StreamEvents): RequestStream {
    const stream = new RequestStream(this, { id, since: this.flushes, events });
    this.#streams.set(id, stream);
    return stream;
  }

  send(frame: Frame): void {
    if (this.#streams.has(frame.stream)) this.#frames.send(frame);
  }

  grant(id: number, bytes: number): void {
    if (this.#streams.has(id)) this.#frames.grant(id, bytes);
  }

  reset(id: number): void {
    if (!this.#streams.has(id)) return;
    this.#frames.reset(id);
    this.#forget(id);
  }

  /** Idempotent. */
  close(): void {
    this.#isOpen = false;
    this.#frames.close();
  }

  #nextId(): number {
    do this.#lastStream = nextStream(this.#lastStream);
    while (this.#streams.has(this.#lastStream));
    return this.#lastStream;
  }

  #take({ type, stream: id, payload, isLast }: Frame): void {
    if (type === FRAME.drain) {
      this.#isOpen = false;
      this.#endWhenIdle();
      return;
    }
    const stream = this.#streams.get(id);
    // Given up by us in the meantime.
    if (stream === undefined) return;
    if (type === FRAME.window) stream.out.grant(payload.readUInt32BE());
    else if (type === FRAME.reset) {
      this.#forget(id);
      stream.events.onReset();
    } else this.#takeAnswer(id, stream, { type, payload, isLast });
  }

  #takeAnswer(
    id: number,
    stream: RequestStream,
    { type, payload, isLast }: Omit<Frame, "stream">,
  ): void {
    if (stream.hasHead === (type === FRAME.head)) throw new Error("an answer begins with one head");
    if (isLast) this.#forget(id);
    if (type === FRAME.head) {
      stream.hasHead = true;
      stream.events.onHead(payload, isLast);
    } else {
      // What ends with its first piece needs no counting: a frame is never larger than the window.
      if (!(isLast && !stream.hasBody) && !stream.in.came(payload.length))
        throw new Error("more has come than was granted");
      stream.hasBody = true;
      stream.events.onBody(payload, isLast);
    }
  }

  #forget(id: number): void {
    this.#streams.delete(id);
    if (!this.#isOpen) this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    // In the next turn: a last frame of ours may still have to go.
    if (this.#streams.size === 0) setImmediate(() => this.#frames.end());
  }

  #closed(cause: Error): void {
    this.#isOpen = false;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.events.onLost(cause, stream.hadArrived);
    this.#ended.resolve();
  }
}

/** What came behind the greeting; undefined when there is none. */
function greeting(socket: net.Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let seen: Buffer = Buffer.alloc(0);
    const over = (rest: Buffer | undefined): void => {
      socket.setTimeout(0);
      socket.off("data", onData);
      socket.off("close", onEnd);
      socket.pause();
      resolve(rest);
    };
    const onEnd = (): void => over(undefined);
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const { length } = LB_LINK_GREETING;
      const text = seen.toString("latin1", 0, length);
      if (text === LB_LINK_GREETING) over(seen.subarray(length));
      else if (!LB_LINK_GREETING.startsWith(text)) over(undefined);
    };
    socket.on("data", onData);
    // Followed by the close.
    socket.on("error", () => undefined);
    socket.once("close", onEnd);
    socket.setTimeout(GREETING_MS, onEnd);
  });
}
