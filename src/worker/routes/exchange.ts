/**
 * A request and its answer as the route server sees them, whatever brought them: node:http's own
 * objects, or a stream of the request link.
 */

import type { IncomingHttpHeaders } from "node:http";
import type { Readable, Writable } from "node:stream";

export interface RouteRequest extends Readable {
  method?: string | undefined;
  /** The request's target. */
  url?: string | undefined;
  /** By lower-case name, joined as node:http joins them. */
  readonly headers: IncomingHttpHeaders;
  /** The same, unjoined. */
  readonly headersDistinct: NodeJS.Dict<string[]>;
  /** All of the body has come. */
  readonly complete: boolean;
  /** The whole body, when all of it has come and none has been read. It counts as read then. */
  takeWhole?(): Buffer | undefined;
}

export interface RouteResponse extends Writable {
  readonly req: RouteRequest;
  readonly headersSent: boolean;
  statusCode: number;
  statusMessage: string;
  setHeader(name: string, value: string | number | readonly string[]): unknown;
  writeHead(status: number, headers?: Record<string, string | number>): this;
  flushHeaders(): void;
}
