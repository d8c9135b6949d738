/** A request and its answer as a stream of the request link. */

import { STATUS_CODES, validateHeaderName, validateHeaderValue } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { Readable, Writable } from "node:stream";
import { Inflow, Outflow } from "../../contract/lb-link.ts";
import type { RouteRequest, RouteResponse } from "./exchange.ts";

/** Of these the first one counts, as in node:http; others are joined. */
const SINGLE = new Set([
  "age",
  "authorization",
  "content-length",
  "content-type",
  "etag",
  "expires",
  "from",
  "host",
  "if-modified-since",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "proxy-authorization",
  "referer",
  "retry-after",
  "server",
  "user-agent",
]);

/** What a stream can say to the other side. */
export interface LinkVoice {
  /** False: it is too long. */
  head(parts: readonly string[]): boolean;
  body(bytes: Buffer, isLast: boolean): void;
  grant(bytes: number): void;
  /** The answer is over; `isWhole` or broken off. */
  over(isWhole: boolean): void;
}

export class LinkRequest extends Readable implements RouteRequest {
  readonly method: string;
  readonly url: string;
  complete: boolean;
  readonly #raw: readonly string[];
  readonly #inflow: Inflow;
  /** Has come, but nobody has asked for it. */
  #chunks: Buffer[] = [];
  #isAsked = false;
  #isTouched = false;
  #headers: IncomingHttpHeaders | undefined;

  /** `isComplete`: there is no body. */
  constructor(
    [method = "GET", url = "/", ...raw]: readonly string[],
    { isComplete, voice }: { isComplete: boolean; voice: LinkVoice },
  ) {
    super();
    this.method = method;
    this.url = url;
    this.#raw = raw;
    this.complete = isComplete;
    this.#inflow = new Inflow((bytes) => voice.grant(bytes));
  }

  get headers(): IncomingHttpHeaders {
    return (this.#headers ??= joined(this.#raw));
  }

  get headersDistinct(): NodeJS.Dict<string[]> {
    const all: NodeJS.Dict<string[]> = Object.create(null) as NodeJS.Dict<string[]>;
    for (let index = 0; index < this.#raw.length; index += 2) {
      const name = (this.#raw[index] ?? "").toLowerCase();
      (all[name] ??= []).push(this.#raw[index + 1] ?? "");
    }
    return all;
  }

  /** More of the body has come. False: more than was granted. */
  receive(bytes: Buffer, isLast: boolean): boolean {
    if (this.complete || !this.#inflow.came(bytes.length)) return false;
    if (bytes.length > 0) this.#chunks.push(bytes);
    if (isLast) this.complete = true;
    if (this.destroyed) this.#drop();
    else this.#pump();
    return true;
  }

  takeWhole(): Buffer | undefined {
    if (!this.complete || this.#isTouched) return undefined;
    const [first] = this.#chunks;
    const whole =
      this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    this.#chunks = [];
    return whole;
  }

  override _read(): void {
    this.#isTouched = true;
    this.#isAsked = true;
    this.#pump();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#drop();
    callback(error);
  }

  /** Grants more as it is passed on, not as it comes: that is what slows the sender down. */
  #pump(): void {
    while (this.#isAsked) {
      const next = this.#chunks.shift();
      if (next === undefined) {
        if (!this.complete) return;
        this.#isAsked = false;
        this.push(null);
        return;
      }
      this.#inflow.used(next.length);
      this.#isAsked = this.push(next);
    }
  }

  #drop(): void {
    for (const chunk of this.#chunks) this.#inflow.used(chunk.length);
    this.#chunks = [];
  }
}

export class LinkResponse extends Writable implements RouteResponse {
  readonly req: LinkRequest;
  statusCode = 200;
  statusMessage = "";
  headersSent = false;
  readonly #voice: LinkVoice;
  readonly #out: Outflow;
  /** By lower-case name. */
  readonly #headers = new Map<string, { name: string; value: string | readonly string[] }>();
  #isBodiless = false;
  #isEnded = false;
  #whenDrained: (() => void) | undefined;

  constructor(req: LinkRequest, voice: LinkVoice) {
    super();
    this.req = req;
    this.#voice = voice;
    this.#out = new Outflow((bytes, isLast) => voice.body(bytes, isLast));
    this.#out.onDrain(() => {
      const run = this.#whenDrained;
      this.#whenDrained = undefined;
      run?.();
    });
  }

  setHeader(name: string, value: string | number | readonly string[]): this {
    validateHeaderName(name);
    const checked = typeof value === "number" ? String(value) : value;
    if (typeof checked === "string") validateHeaderValue(name, checked);
    else for (const one of checked) validateHeaderValue(name, one);
    this.#headers.set(name.toLowerCase(), { name, value: checked });
    return this;
  }

  writeHead(status: number, headers: Record<string, string | number> = {}): this {
    for (const name in headers) this.setHeader(name, headers[name] ?? "");
    this.statusCode = status;
    this.headersSent = true;
    this.#isBodiless = this.req.method === "HEAD" || status === 204 || status === 304;
    const parts = [String(status), this.statusMessage || (STATUS_CODES[status] ?? "")];
    for (const { name, value } of this.#headers.values()) {
      if (typeof value === "string") parts.push(name, value);
      else for (const one of value) parts.push(name, one);
    }
    if (!this.#voice.head(parts)) this.destroy(new Error("the answer's head is too long"));
    return this;
  }

  flushHeaders(): void {
    if (!this.headersSent) this.writeHead(this.statusCode);
  }

  /** The other side takes more. */
  granted(bytes: number): void {
    this.#out.grant(bytes);
  }

  override end(...args: unknown[]): this {
    const [bytes] = args;
    // Most answers are one piece: it needs none of what streams do for many.
    if (bytes instanceof Buffer && args.length === 1 && this.#isUntouched()) {
      this.flushHeaders();
      if (!this.destroyed) this.#finish(bytes);
      return super.end();
    }
    return (super.end as (...all: unknown[]) => this)(...args);
  }

  override _write(bytes: Buffer, _: string, done: (error?: Error | null) => void): void {
    this.flushHeaders();
    if (this.#isBodiless || this.#out.write(bytes)) done();
    else this.#whenDrained = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.flushHeaders();
    this.#finish(NOTHING);
    done();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#voice.over(this.#isEnded);
    callback(error);
  }

  #isUntouched(): boolean {
    return !this.destroyed && !this.writableEnded && this.writableLength === 0;
  }

  #finish(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#out.end(this.#isBodiless ? NOTHING : bytes);
  }
}

function joined(raw: readonly string[]): IncomingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string>;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] ?? "").toLowerCase();
    const value = raw[index + 1] ?? "";
    const before = headers[name];
    if (name === "set-cookie") {
      if (Array.isArray(before)) before.push(value);
      else headers[name] = [value];
    } else if (before === undefined) headers[name] = value;
    else if (!SINGLE.has(name)) {
      headers[name] = `${String(before)}${name === "cookie" ? "; " : ", "}${value}`;
    }
  }
  return headers;
}

const NOTHING = Buffer.alloc(0);
