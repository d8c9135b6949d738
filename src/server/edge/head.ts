/**
 * What a plain request's head is. Strict where HTTP leaves room: whatever could mean two things to two
 * parsers, concerns the connection, or is merely rare, is not plain.
 *
 *   plain:  GET, POST, PUT, PATCH, DELETE · a path and query of visible ASCII · HTTP/1.1 · each header once,
 *           on one line, name, colon, spaces, printable ASCII · one Host · at most one Content-Length in
 *           canonical digits · `Connection: keep-alive` or none
 *   never:  Transfer-Encoding, Expect, Upgrade, Trailer, TE and their like
 */

/** Heads over this size are not plain, bytes. node:http takes 16 KiB. */
export const MAX_HEAD_BYTES: number = 8 * 1024;
/** Bodies over this size are not plain, bytes: they are streamed. */
export const MAX_BODY_BYTES: number = 64 * 1024;

const REQUEST_LINE = /^(GET|POST|PUT|PATCH|DELETE) (\/[!"$-~]*) HTTP\/1\.1$/;
/**
 * Source: RFC 9110 5.6.2 and 5.5, without tabs and what is beyond ASCII. The spaces around a value are
 * cut off afterwards: an expression that looks for them takes quadratic time for a line full of them.
 */
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([ -~]*)$/;
const LENGTH = /^(?:0|[1-9]\d{0,5})$/;

/** About the connection or the framing; those who send them know why, and node:http does. */
const NOT_PLAIN: ReadonlySet<string> = new Set([
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

export interface PlainHead {
  readonly method: string;
  /** Path and query, as they were written. */
  readonly target: string;
  readonly host: string;
  /** Names as written, and values, in turn. */
  readonly rawHeaders: readonly string[];
  /** By lower-case name. */
  readonly headers: Readonly<Partial<Record<string, string>>>;
  /** Of the body, bytes. */
  readonly bodyBytes: number;
  /**
   * What a responder has worked out from this head alone. A client that sends the same head again, as most
   * do, gets the same object, with what is kept here.
   */
  plan: object | undefined;
}

/** Reads a head, without the empty line that ends it. Undefined: it is not plain. */
export function readPlainHead(text: string): PlainHead | undefined {
  const lines = text.split("\r\n");
  const line = REQUEST_LINE.exec(lines[0] ?? "");
  if (line === null) return undefined;
  const rawHeaders: string[] = [];
  const headers: Partial<Record<string, string>> = Object.create(null) as Record<string, string>;
  for (let index = 1; index < lines.length; index++) {
    const header = HEADER_LINE.exec(lines[index] ?? "");
    if (header === null) return undefined;
    const name = header[1] ?? "";
    const value = (header[2] ?? "").trim();
    const lower = name.toLowerCase();
    if (headers[lower] !== undefined || NOT_PLAIN.has(lower)) return undefined;
    headers[lower] = value;
    rawHeaders.push(name, value);
  }
  const { host, connection, "content-length": length } = headers;
  if (host === undefined || host === "") return undefined;
  if (connection !== undefined && connection.toLowerCase() !== "keep-alive") return undefined;
  if (length !== undefined && !LENGTH.test(length)) return undefined;
  const bodyBytes = Number(length ?? 0);
  if (bodyBytes > MAX_BODY_BYTES) return undefined;
  const [, method = "", target = ""] = line;
  return { method, target, host, rawHeaders, headers, bodyBytes, plan: undefined };
}
