/**
 * The bytes of an answer to a plain request. They are those that node:http would write: the same lines
 * in the same order.
 */

import { STATUS_CODES, validateHeaderName, validateHeaderValue } from "node:http";

/** The head of an answer, up to what depends on the moment it is sent. */
export interface AnswerHead {
  readonly status: number;
  /** Status line and headers. */
  readonly text: string;
  /** It says how long the body is. */
  readonly hasLength: boolean;
  readonly hasDate: boolean;
  /** 204 and 304 have no body, whatever is said. */
  readonly isBodiless: boolean;
}

/**
 * Writes a head down. `headers` are names and values, in turn; framing and `Connection` are not among
 * them, but for `Content-Length`. Throws for what is no HTTP, as node:http does.
 */
export function answerHead(
  status: number,
  headers: readonly string[],
  reason: string = STATUS_CODES[status] ?? "unknown",
): AnswerHead {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  let hasLength = false;
  let hasDate = false;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? "";
    const value = headers[index + 1] ?? "";
    validateHeaderName(name);
    validateHeaderValue(name, value);
    const lower = name.toLowerCase();
    if (lower === "content-length") hasLength = true;
    else if (lower === "date") hasDate = true;
    text += `${name}: ${value}\r\n`;
  }
  return { status, text, hasLength, hasDate, isBodiless: status === 204 || status === 304 };
}

/** The same head with one more header, unless there is no value for it. */
export function withHeader(head: AnswerHead, name: string, value: string | undefined): AnswerHead {
  return value === undefined ? head : { ...head, text: `${head.text}${name}: ${value}\r\n` };
}

/** A JSON document as a whole answer; `headers` by name, `content-type` among them when it is another. */
export function jsonHead(
  status: number,
  bytes: number,
  headers: Readonly<Record<string, string>> = {},
): AnswerHead {
  const all = { "content-type": "application/json", "content-length": String(bytes), ...headers };
  return answerHead(status, Object.entries(all).flat());
}

/** {@link jsonHead} of a good answer: what most answers of the job API have. */
export function okJsonHead(text: string): AnswerHead {
  const bytes = Buffer.byteLength(text);
  return {
    status: 200,
    text: `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n`,
    hasLength: true,
    hasDate: false,
    isBodiless: false,
  };
}

/** How an answer's head ends. */
export interface AnswerTail {
  isChunked: boolean;
  /** For how long the connection is kept afterwards, ms; undefined: it is not. */
  keepAliveMs: number | undefined;
}

/** All of a head, as it is sent now. */
export function headText(
  { text, hasDate }: AnswerHead,
  { isChunked, keepAliveMs }: AnswerTail,
): string {
  const connection =
    keepAliveMs === undefined
      ? "Connection: close\r\n"
      : `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n`;
  const coding = isChunked ? "Transfer-Encoding: chunked\r\n" : "";
  return `${text}${hasDate ? "" : dateLine()}${connection}${coding}\r\n`;
}

/** One piece of a chunked body. */
export function chunkHead(bytes: number): string {
  return `${bytes.toString(16)}\r\n`;
}

export const LAST_CHUNK = "0\r\n\r\n";

let line = "";
let lineUntil = 0;

function dateLine(): string {
  const now = Date.now();
  if (now >= lineUntil || now < lineUntil - 1000) {
    line = `Date: ${new Date(now).toUTCString()}\r\n`;
    lineUntil = now - (now % 1000) + 1000;
  }
  return line;
}
