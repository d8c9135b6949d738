/**
 * Which web pages may read answers: cross-origin resource sharing, for clients in browsers. It opens
 * nothing to anybody without a key; it only lets a page use the key that it has.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { isLocalName } from "./target.ts";

/** Any page. */
const ANY = "*";
/** Pages served on this machine, on any port. */
const LOCAL = "local";

const METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/** What pages may read beside the usual. */
const EXPOSED =
  "location, retry-after, x-request-id, x-flash-job, x-runpod-worker-id, www-authenticate";
/** How long a browser remembers a preflight, s: the most that browsers do. */
const MAX_AGE_S = 7200;

export class Cors {
  readonly #origins: ReadonlySet<string>;

  /** Origins such as `https://app.example.com`; `*` means any, `local` those of this machine. */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
  }

  /** Adds to the answer what lets the page read it. True when that was the whole answer. */
  answers(request: IncomingMessage, response: ServerResponse): boolean {
    const { origin } = request.headers;
    if (origin === undefined) return false;
    response.setHeader("vary", "Origin");
    if (!this.#allows(origin)) return false;
    response.setHeader("access-control-allow-origin", origin);
    response.setHeader("access-control-expose-headers", EXPOSED);
    const isPreflight =
      request.method === "OPTIONS" &&
      request.headers["access-control-request-method"] !== undefined;
    if (!isPreflight) return false;
    const asked = request.headers["access-control-request-headers"];
    const isToPrivate = request.headers["access-control-request-private-network"] === "true";
    response.writeHead(204, {
      "access-control-allow-methods": METHODS,
      ...(asked === undefined ? {} : { "access-control-allow-headers": asked }),
      ...(isToPrivate ? { "access-control-allow-private-network": "true" } : {}),
      "access-control-max-age": String(MAX_AGE_S),
      "content-length": "0",
    });
    response.end();
    return true;
  }

  #allows(origin: string): boolean {
    if (this.#origins.has(ANY) || this.#origins.has(origin)) return true;
    if (!this.#origins.has(LOCAL) || !URL.canParse(origin)) return false;
    return isLocalName(new URL(origin).hostname);
  }
}
