/** Small HTTP pieces that every part of the gateway shares: reading bodies, writing JSON, who calls. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Scope, Verb } from "../../contract/access.ts";
import { FlashError, PROBLEM_TYPE, problemOf } from "../../contract/errors.ts";
import { utf8Text } from "../../kit/utf8.ts";

/** Who is calling, as the gateway's front door found out from the key. */
export type Principal =
  /** The server key: everything is allowed. */
  | { kind: "operator" }
  /** Nobody: for what is public. */
  | { kind: "nobody" }
  /** A key that somebody made: what its verbs and its scope allow. */
  | { kind: "key"; id: string; name: string; verbs: readonly Verb[]; scope: Scope }
  /** A worker's secret: its own protocol, and calls by name within its app and environment. */
  | {
      kind: "worker";
      workerId: string;
      endpointId: string;
      app: string;
      environment: string;
      /** Somebody else has started it. */
      isGuest?: boolean;
    };

/**
 * A body over its limit is read on and thrown away up to this size: a client that is cut off while it
 * sends sees a broken connection instead of the answer.
 */
const LINGER_BYTES = 64 * 1024 * 1024;

/**
 * Reads a whole body. Throws `PAYLOAD_TOO_LARGE` when more than `maxBytes` are announced or have
 * come, keeping none of it, and `INVALID_REQUEST` when the client goes away before the end.
 */
function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > Math.max(maxBytes, LINGER_BYTES)) {
    reject(tooLarge(maxBytes));
    return promise;
  }
  const parts: Buffer[] = [];
  let bytes = 0;
  // Listening, as an async iterator would cost more than everything else that is done with a body.
  request.on("data", (part: Buffer) => {
    bytes += part.length;
    if (bytes <= maxBytes) parts.push(part);
    else parts.length = 0;
    if (bytes <= LINGER_BYTES || bytes <= maxBytes) return;
    // The connection stays: the answer is still to come.
    request.pause();
    reject(tooLarge(maxBytes));
  });
  request.once("end", () => {
    if (bytes > maxBytes) reject(tooLarge(maxBytes));
    else if (parts.length === 1 && parts[0] !== undefined) resolve(parts[0]);
    else resolve(Buffer.concat(parts, bytes));
  });
  const cutOff = (cause?: Error): void => {
    const message = "The request ended before its body was complete.";
    reject(new FlashError("INVALID_REQUEST", message, { cause }));
  };
  if (request.destroyed && !request.readableEnded) cutOff();
  request.once("error", cutOff);
  request.once("close", () => {
    if (!request.readableEnded) cutOff();
  });
  return promise;
}

/** {@link readBody} as {@link textOf}. Throws `UNSUPPORTED_MEDIA_TYPE` for a compressed one, too. */
export async function readText(request: IncomingMessage, maxBytes: number): Promise<string> {
  const coding = request.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (coding !== "identity") {
    throw new FlashError(
      "UNSUPPORTED_MEDIA_TYPE",
      `A body with Content-Encoding '${coding}' is not read.`,
      { hint: "Send the body uncompressed." },
    );
  }
  return textOf(await readBody(request, maxBytes));
}

/** The text of a body. Throws `INVALID_REQUEST` for one that is not UTF-8: nothing is altered on its way. */
export function textOf(body: Buffer): string {
  const text = utf8Text(body);
  if (text !== undefined) return text;
  throw new FlashError("INVALID_REQUEST", "The body is not UTF-8, as JSON has to be.", {
    hint: "Encode the text as UTF-8; bytes that are no text go into it as Base64.",
  });
}

/** HEAD asks for what GET would answer, without the body, which node:http leaves out. */
export function methodOf({ method = "" }: IncomingMessage): string {
  return method === "HEAD" ? "GET" : method;
}

/** The value of an `Allow` header. */
export function allowed(methods: readonly string[]): string {
  return methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
}

/** Answers with a JSON document. */
export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  sendJsonText(response, status, JSON.stringify(value), headers);
}

/** Answers with JSON that is already text. */
export function sendJsonText(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

/**
 * Answers with the problem document of a failure; anything but a {@link FlashError} is `INTERNAL` and
 * tells nothing about the inside. `extra` adds members to the document.
 */
export function sendProblem(
  response: ServerResponse,
  failure: unknown,
  extra: Readonly<Record<string, unknown>> = {},
): void {
  const { status, text, headers } = problemAnswer(failure, extra);
  sendJsonText(response, status, text, headers);
}

/** What {@link sendProblem} answers. */
export function problemAnswer(
  failure: unknown,
  extra: Readonly<Record<string, unknown>> = {},
): { status: number; text: string; headers: Record<string, string> } {
  const error = knownError(failure);
  const text = JSON.stringify({ ...problemOf(error), ...extra });
  return { status: error.status, text, headers: problemHeaders(error) };
}

/** The member of problem documents in which the platform's clients look for what went wrong. */
export function platformMember(failure: unknown): { error: string } {
  return { error: knownError(failure).message };
}

function knownError(failure: unknown): FlashError {
  if (FlashError.is(failure)) return failure;
  return new FlashError("INTERNAL", "The server failed to answer this request.", {
    hint: "The server's log names the cause.",
  });
}

function problemHeaders(error: FlashError): Record<string, string> {
  const headers: Record<string, string> = { "content-type": PROBLEM_TYPE };
  if (error.status === 401) headers["www-authenticate"] = "Bearer";
  if (error.status === 429 || error.status === 503 || error.status === 507) {
    const { retryAfterS } = error.details ?? {};
    headers["retry-after"] = typeof retryAfterS === "number" ? String(retryAfterS) : "1";
  }
  // What is left of the body is not read, so the connection cannot carry another request.
  if (error.code === "PAYLOAD_TOO_LARGE") headers["connection"] = "close";
  return headers;
}

/** A signal that aborts when the client goes away before its answer is complete. */
export function clientSignal(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  const onClose = (): void => {
    if (!response.writableFinished) controller.abort();
  };
  if (response.closed) onClose();
  else response.once("close", onClose);
  return controller.signal;
}

function tooLarge(maxBytes: number): FlashError {
  return new FlashError(
    "PAYLOAD_TOO_LARGE",
    `The body is larger than ${maxBytes} bytes, the limit of this operation.`,
    { hint: "Send a URL to the data instead of the data." },
  );
}

/** Parameters of a request's target. */
export function queryOf(url: string): URLSearchParams {
  const cut = url.indexOf("?");
  return new URLSearchParams(cut === -1 ? "" : url.slice(cut + 1));
}

/** What is no number is ignored, what is out of bounds is moved to the bound: all clients do the same. */
export function clamped(text: string | null, least: number, most: number): number | undefined {
  const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isNaN(value)) return undefined;
  return Math.min(most, Math.max(least, Math.round(value)));
}

/** Which page of a list is asked for. */
export function pageOf(
  query: URLSearchParams,
  { limit, most }: { limit: number; most: number },
): { offset: number; limit: number } {
  return {
    offset: clamped(query.get("offset"), 0, Number.MAX_SAFE_INTEGER) ?? 0,
    limit: clamped(query.get("limit"), 1, most) ?? limit,
  };
}
