/**
 * A request and its answer as the route server sees them, whatever brought them: a connection of
 * node:http, or a stream of the request link. Most bodies are there at once and most answers are one
 * piece; streams are made only for the others.
 */

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Readable, Writable } from "node:stream";

export interface RouteRequest {
  readonly method: string;
  /** The request's target. */
  readonly url: string;
  /** By lower-case name, joined as node:http joins them. */
  readonly headers: IncomingHttpHeaders;
  /** The same, unjoined. */
  readonly headersDistinct: NodeJS.Dict<string[]>;
  /** All of the body has come. */
  readonly complete: boolean;
  /** The whole body, when all of it has come and none has been read. It counts as read then. */
  takeWhole(): Buffer | undefined;
  /** The body as it comes. */
  readonly stream: Readable;
}

export interface RouteResponse {
  readonly req: RouteRequest;
  readonly headersSent: boolean;
  readonly destroyed: boolean;
  statusCode: number;
  statusMessage: string;
  setHeader(name: string, value: string | number | readonly string[]): void;
  writeHead(status: number, headers?: Record<string, string | number>): void;
  flushHeaders(): void;
  /** The whole body, or none. */
  end(body?: Buffer): void;
  /** Breaks the answer off. */
  destroy(): void;
  /** Calls `run` once if the answer breaks off, whoever breaks it. */
  onBroken(run: () => void): void;
  /** For a body that comes in pieces. */
  readonly stream: Writable;
}

/** What node:http has read. */
export class HttpRequest implements RouteRequest {
  readonly stream: IncomingMessage;

  constructor(message: IncomingMessage) {
    this.stream = message;
  }

  get method(): string {
    return this.stream.method ?? "GET";
  }

  get url(): string {
    return this.stream.url ?? "/";
  }

  get headers(): IncomingHttpHeaders {
    return this.stream.headers;
  }

  get headersDistinct(): NodeJS.Dict<string[]> {
    return this.stream.headersDistinct;
  }

  get complete(): boolean {
    return this.stream.complete;
  }

  takeWhole(): undefined {
    return undefined;
  }
}

/** What node:http writes. */
export class HttpResponse implements RouteResponse {
  readonly req: RouteRequest;
  readonly stream: ServerResponse;

  constructor(req: RouteRequest, response: ServerResponse) {
    this.req = req;
    this.stream = response;
    // What cannot be written to a client that left is nobody's loss.
    response.on("error", () => undefined);
  }

  get headersSent(): boolean {
    return this.stream.headersSent;
  }

  get destroyed(): boolean {
    return this.stream.destroyed;
  }

  get statusCode(): number {
    return this.stream.statusCode;
  }

  set statusCode(status: number) {
    this.stream.statusCode = status;
  }

  get statusMessage(): string {
    return this.stream.statusMessage;
  }

  set statusMessage(message: string) {
    this.stream.statusMessage = message;
  }

  setHeader(name: string, value: string | number | readonly string[]): void {
    this.stream.setHeader(name, value);
  }

  writeHead(status: number, headers: Record<string, string | number> = {}): void {
    this.stream.writeHead(status, headers);
  }

  flushHeaders(): void {
    this.stream.flushHeaders();
  }

  end(body?: Buffer): void {
    this.stream.end(body);
  }

  destroy(): void {
    this.stream.destroy();
  }

  onBroken(run: () => void): void {
    this.stream.once("close", () => {
      if (!this.stream.writableFinished) run();
    });
  }
}
