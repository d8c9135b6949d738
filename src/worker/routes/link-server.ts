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
import { LinkRequest, LinkResponse, type LinkVoice } from "./link-exchange.ts";

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

interface Stream {
  request: LinkRequest;
  response: LinkResponse;
}

class Connection {
  readonly #frames: FrameLink;
  readonly #listener: LinkListener;
  readonly #streams = new Map<number, Stream>();
  /** Have begun with this read; most bodies come with it. */
  #begun: Stream[] = [];

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

  #take({ type, stream: id, payload, isLast }: Frame): void {
    const stream = this.#streams.get(id);
    if (type === FRAME.head) {
      if (stream !== undefined) throw new Error("the stream is in use");
      this.#begin(id, headParts(payload), isLast);
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

  #begin(id: number, head: readonly string[], isComplete: boolean): void {
    const voice: LinkVoice = {
      head: (parts) => this.#frames.sendHead(id, parts, false),
      body: (payload, isLast) => {
        if (this.#streams.has(id)) {
          this.#frames.send({ type: FRAME.body, stream: id, payload, isLast });
        }
        if (isLast) this.#over(id);
      },
      grant: (bytes) => {
        if (this.#streams.has(id)) this.#frames.grant(id, bytes);
      },
      over: (isWhole) => {
        if (isWhole || !this.#streams.has(id)) return;
        this.#frames.reset(id);
        this.#over(id);
      },
    };
    const request = new LinkRequest(head, { isComplete, voice });
    const stream = { request, response: new LinkResponse(request, voice) };
    this.#streams.set(id, stream);
    this.#begun.push(stream);
  }

  #handOver(): void {
    const begun = this.#begun;
    if (begun.length === 0) return;
    this.#begun = [];
    for (const { request, response } of begun) {
      if (!response.destroyed) this.#listener(request, response);
    }
  }

  /** The answer has been said. */
  #over(id: number): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    if (stream !== undefined && !stream.request.complete) stream.request.destroy();
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
