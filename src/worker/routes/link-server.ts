/**
 * A request link, worker side: takes the streams of the server's connection and hands each over as a
 * request and its answer. The frames are those of contract/lb-link.ts.
 *
 *   1  A stream is over when its answer has ended or broken off, when the server resets it, or with
 *      the connection; what it leaves unread is dropped.
 *   2  A server that sends what is no frame, or more than was granted, loses the connection.
 */

import { rm } from "node:fs/promises";
import net from "node:net";
import { FRAME, LB_LINK_GREETING, headParts, type Frame } from "../../contract/lb-link.ts";
import { deferred } from "../../kit/abort.ts";
import { FrameLink } from "../../kit/frame-link.ts";
import { LinkHead, LinkRequest, LinkResponse, type LinkVoice } from "./link-exchange.ts";

export type LinkListener = (request: LinkRequest, response: LinkResponse) => void;

export class LinkServer {
  readonly #server: net.Server;
  readonly #connections = new Set<Connection>();
  #isDraining = false;
  #quiet = deferred<void>();

  constructor(listener: LinkListener) {
    this.#server = net.createServer((socket) => this.#accept(socket, listener));
  }

  /** Rejects when the path cannot be listened on. */
  async listen(path: string): Promise<void> {
    // Left behind by a worker that was killed; nobody else may own this path.
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(path, resolve);
    });
  }

  /** No new streams, please. Resolves when the server has ended its connections. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    this.#server.close();
    for (const connection of this.#connections) connection.drain();
    if (this.#connections.size > 0) await this.#quiet.promise;
  }

  #accept(socket: net.Socket, listener: LinkListener): void {
    const connection = new Connection(socket, {
      listener,
      onClose: () => {
        this.#connections.delete(connection);
        if (this.#isDraining && this.#connections.size === 0) this.#quiet.resolve();
      },
    });
    this.#connections.add(connection);
    if (this.#isDraining) connection.drain();
  }
}

/** One request and its answer, and what they say to the server. */
class Stream implements LinkVoice {
  readonly request: LinkRequest;
  readonly response: LinkResponse;
  readonly #connection: Connection;
  readonly #id: number;

  constructor(
    connection: Connection,
    { id, head, isComplete }: { id: number; head: LinkHead; isComplete: boolean },
  ) {
    this.#connection = connection;
    this.#id = id;
    this.request = new LinkRequest(head, { isComplete, voice: this });
    this.response = new LinkResponse(this.request, this);
  }

  head(parts: readonly string[]): boolean {
    return this.#connection.sendHead(this.#id, parts);
  }

  body(bytes: Buffer, isLast: boolean): void {
    this.#connection.sendBody(this.#id, bytes, isLast);
  }

  grant(bytes: number): void {
    this.#connection.grant(this.#id, bytes);
  }

  broken(): void {
    this.#connection.reset(this.#id);
  }
}

class Connection {
  readonly #frames: FrameLink;
  readonly #listener: LinkListener;
  readonly #streams = new Map<number, Stream>();
  /** Have begun with this read; most bodies come with it. */
  #begun: Stream[] = [];
  /** The last head that came: many requests of a client, and of many clients, have the same. */
  #known: { bytes: Buffer; head: LinkHead } | undefined;

  constructor(
    socket: net.Socket,
    { listener, onClose }: { listener: LinkListener; onClose: () => void },
  ) {
    this.#listener = listener;
    socket.write(LB_LINK_GREETING);
    this.#frames = new FrameLink(socket, {
      onFrame: (frame) => this.#take(frame),
      onRead: () => this.#handOver(),
      onClose: () => {
        onClose();
        for (const id of this.#streams.keys()) this.#abort(id);
      },
    });
  }

  drain(): void {
    this.#frames.send({ type: FRAME.drain, stream: 0, payload: NOTHING, isLast: false });
  }

  /** False: it is too long. */
  sendHead(id: number, parts: readonly string[]): boolean {
    return !this.#streams.has(id) || this.#frames.sendHead(id, parts, false);
  }

  sendBody(id: number, payload: Buffer, isLast: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#frames.send({ type: FRAME.body, stream: id, payload, isLast });
    if (!isLast) return;
    this.#streams.delete(id);
    if (!stream.request.complete) stream.request.destroy();
  }

  grant(id: number, bytes: number): void {
    if (this.#streams.has(id)) this.#frames.grant(id, bytes);
  }

  /** The answer will not be whole. */
  reset(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#frames.reset(id);
    this.#streams.delete(id);
    if (!stream.request.complete) stream.request.destroy();
  }

  #take({ type, stream: id, payload, isLast }: Frame): void {
    const stream = this.#streams.get(id);
    if (type === FRAME.head) {
      if (stream !== undefined) throw new Error("the stream is in use");
      this.#begin(id, payload, isLast);
      return;
    }
    if (type === FRAME.drain) throw new Error("only a worker drains");
    // Answered in the meantime.
    if (stream === undefined) return;
    if (type === FRAME.reset) this.#abort(id);
    else if (type === FRAME.window) stream.response.granted(payload.readUInt32BE());
    else if (!stream.request.receive(payload, isLast)) {
      throw new Error("more has come than was granted");
    }
  }

  #begin(id: number, payload: Buffer, isComplete: boolean): void {
    const stream = new Stream(this, { id, head: this.#headOf(payload), isComplete });
    this.#streams.set(id, stream);
    this.#begun.push(stream);
  }

  #headOf(payload: Buffer): LinkHead {
    const known = this.#known;
    if (known?.bytes.length === payload.length && known.bytes.compare(payload) === 0) {
      return known.head;
    }
    const head = new LinkHead(headParts(payload));
    this.#known = { bytes: Buffer.from(payload), head };
    return head;
  }

  #handOver(): void {
    const begun = this.#begun;
    if (begun.length === 0) return;
    this.#begun = [];
    for (const { request, response } of begun) {
      if (!response.destroyed) this.#listener(request, response);
    }
  }

  /** The other side has gone, or no longer cares. */
  #abort(id: number): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.request.destroy();
    stream?.response.destroy();
  }
}

const NOTHING = Buffer.alloc(0);
