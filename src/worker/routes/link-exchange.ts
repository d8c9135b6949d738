/** A request and its answer as a stream of the request link. */

import { STATUS_CODES, validateHeaderName, validateHeaderValue } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { Readable, Writable } from "node:stream";
import { Inflow, Outflow, WINDOW_BYTES } from "../../contract/lb-link.ts";
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
  /** The answer breaks off. */
  broken(): void;
}

/** A request's head, which a server may send again and again. */
export class LinkHead {
  readonly method: string;
  readonly url: string;
  readonly #raw: readonly string[];
  #headers: IncomingHttpHeaders | undefined;

  constructor([method = "GET", url = "/", ...raw]: readonly string[]) {
    this.method = method;
    this.url = url;
    this.#raw = raw;
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
}

export class LinkRequest implements RouteRequest {
  readonly #head: LinkHead;
  readonly #voice: LinkVoice;
  #isComplete: boolean;
  #isDestroyed = false;
  #inflow: Inflow | undefined;
  /** Has come, but nobody has asked for it. */
  #chunks: Buffer[] | undefined;
  #isAsked = false;
  #stream: Readable | undefined;

  /** `isComplete`: there is no body. */
  constructor(head: LinkHead, { isComplete, voice }: { isComplete: boolean; voice: LinkVoice }) {
    this.#head = head;
    this.#voice = voice;
    this.#isComplete = isComplete;
  }

  get method(): string {
    return this.#head.method;
  }

  get url(): string {
    return this.#head.url;
  }

  get headers(): IncomingHttpHeaders {
    return this.#head.headers;
  }

  get headersDistinct(): NodeJS.Dict<string[]> {
    return this.#head.headersDistinct;
  }

  get complete(): boolean {
    return this.#isComplete;
  }

  get stream(): Readable {
    if (this.#stream === undefined) {
      this.#stream = new Readable({
        read: () => {
          this.#isAsked = true;
          this.#pump();
        },
        destroy: (error, done) => {
          this.#drop();
          done(error);
        },
      });
      if (this.#isDestroyed) this.#stream.destroy();
    }
    return this.#stream;
  }

  /** More of the body has come. False: more than was granted. */
  receive(bytes: Buffer, isLast: boolean): boolean {
    if (this.#isComplete) return false;
    const isWhole = isLast && this.#inflow === undefined;
    // What comes in one piece needs no counting: a frame is never larger than the window.
    if (!isWhole && !this.#counted.came(bytes.length)) return false;
    if (bytes.length > 0) (this.#chunks ??= []).push(bytes);
    if (isLast) this.#isComplete = true;
    if (this.#isDestroyed) this.#drop();
    else this.#pump();
    return true;
  }

  takeWhole(): Buffer | undefined {
    if (!this.#isComplete || this.#stream !== undefined) return undefined;
    const chunks = this.#chunks ?? [];
    this.#chunks = undefined;
    const [first] = chunks;
    return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
  }

  /** Nobody reads the rest, which is dropped as it comes. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#drop();
    this.#stream?.destroy();
  }

  get #counted(): Inflow {
    return (this.#inflow ??= new Inflow((bytes) => this.#voice.grant(bytes)));
  }

  /** Grants more as it is passed on, not as it comes: that is what slows the sender down. */
  #pump(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    while (this.#isAsked) {
      const next = this.#chunks?.shift();
      if (next === undefined) {
        if (!this.#isComplete) return;
        this.#isAsked = false;
        stream.push(null);
        return;
      }
      this.#inflow?.used(next.length);
      this.#isAsked = stream.push(next);
    }
  }

  #drop(): void {
    for (const chunk of this.#chunks ?? []) this.#inflow?.used(chunk.length);
    this.#chunks = undefined;
  }
}

export class LinkResponse implements RouteResponse {
  readonly req: LinkRequest;
  statusCode = 200;
  statusMessage = "";
  readonly #voice: LinkVoice;
  /** By lower-case name. */
  #headers: Map<string, { name: string; value: string | readonly string[] }> | undefined;
  #state: "open" | "begun" | "ended" | "broken" = "open";
  #isBodiless = false;
  #out: Outflow | undefined;
  #stream: Writable | undefined;
  #whenDrained: (() => void) | undefined;
  #whenBroken: (() => void) | undefined;

  constructor(req: LinkRequest, voice: LinkVoice) {
    this.req = req;
    this.#voice = voice;
  }

  get headersSent(): boolean {
    return this.#state !== "open";
  }

  get destroyed(): boolean {
    return this.#state === "broken";
  }

  get stream(): Writable {
    if (this.#stream === undefined) {
      this.#stream = new Writable({
        write: (bytes: Buffer, _, done) => this.#write(bytes, done),
        final: (done) => {
          this.end();
          done();
        },
        destroy: (error, done) => {
          this.destroy();
          done(error);
        },
      });
      // What cannot be written to a client that left is nobody's loss.
      this.#stream.on("error", () => undefined);
      if (this.destroyed) this.#stream.destroy();
    }
    return this.#stream;
  }

  setHeader(name: string, value: string | number | readonly string[]): void {
    validateHeaderName(name);
    const checked = typeof value === "number" ? String(value) : value;
    if (typeof checked === "string") validateHeaderValue(name, checked);
    else for (const one of checked) validateHeaderValue(name, one);
    this.#headers ??= new Map();
    this.#headers.set(name.toLowerCase(), { name, value: checked });
  }

  writeHead(status: number, headers: Record<string, string | number> = {}): void {
    for (const name in headers) this.setHeader(name, headers[name] ?? "");
    if (this.#state !== "open") return;
    this.#state = "begun";
    this.statusCode = status;
    this.#isBodiless = this.req.method === "HEAD" || status === 204 || status === 304;
    const parts = [String(status), this.statusMessage || (STATUS_CODES[status] ?? "")];
    for (const { name, value } of this.#headers?.values() ?? []) {
      if (typeof value === "string") parts.push(name, value);
      else for (const one of value) parts.push(name, one);
    }
    if (!this.#voice.head(parts)) this.destroy();
  }

  flushHeaders(): void {
    if (this.#state === "open") this.writeHead(this.statusCode);
  }

  end(body: Buffer = NOTHING): void {
    this.flushHeaders();
    if (this.#state !== "begun") return;
    this.#state = "ended";
    this.#whenBroken = undefined;
    const bytes = this.#isBodiless ? NOTHING : body;
    // Most answers are one piece, and within the window: they need none of what streams do for many.
    if (this.#out === undefined && bytes.length <= WINDOW_BYTES) this.#voice.body(bytes, true);
    else this.#flow.end(bytes);
  }

  /** The other side takes more. */
  granted(bytes: number): void {
    this.#flow.grant(bytes);
  }

  onBroken(run: () => void): void {
    if (this.destroyed) run();
    else this.#whenBroken = run;
  }

  destroy(): void {
    if (this.#state === "ended" || this.#state === "broken") return;
    this.#state = "broken";
    this.#voice.broken();
    this.#stream?.destroy();
    this.#whenBroken?.();
  }

  get #flow(): Outflow {
    if (this.#out === undefined) {
      this.#out = new Outflow((bytes, isLast) => this.#voice.body(bytes, isLast));
      this.#out.onDrain(() => {
        const run = this.#whenDrained;
        this.#whenDrained = undefined;
        run?.();
      });
    }
    return this.#out;
  }

  #write(bytes: Buffer, done: (error?: Error | null) => void): void {
    this.flushHeaders();
    if (this.#state !== "begun" || this.#isBodiless || this.#flow.write(bytes)) done();
    else this.#whenDrained = done;
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
