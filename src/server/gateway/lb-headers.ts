/**
 * Headers on their way through the gateway, as the flat lists that node:http reads and writes: order,
 * case and repetition stay as they are. What belongs to one connection ends here, so that gateway and
 * worker can never disagree about where a message ends.
 */

import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { LIVE_SECRET_HEADER } from "../../contract/live.ts";
import { ORIGIN_HEADERS } from "../../contract/origin.ts";
import { REQUEST_ID_HEADER, TIMING_HEADER, WORKER_ID_HEADER } from "../../contract/worker-env.ts";

/** Of one connection only (RFC 9110 7.6.1), or framing that node:http writes itself. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Not for the worker: the key, the affinity wish, `expect` (the gateway answers it), and what the
 * gateway writes itself.
 */
const NOT_FOR_WORKER = new Set([
  "authorization",
  "expect",
  "content-length",
  WORKER_ID_HEADER,
  LIVE_SECRET_HEADER,
  ORIGIN_HEADERS.caller,
  ORIGIN_HEADERS.chain,
  TIMING_HEADER,
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
]);

const NOTHING_TOLD: Readonly<IncomingHttpHeaders> = {};
const NO_BODY_METHODS = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]);

/** What is needed of a request, whoever has read it. */
export interface RequestFacts {
  readonly method: string;
  /** Names and values, in turn. */
  readonly rawHeaders: readonly string[];
  /** By lower-case name, as node:http joins them. */
  readonly headers: Readonly<IncomingHttpHeaders>;
  /** Address of the client. */
  readonly peer: string;
  readonly isEncrypted: boolean;
}

export function factsOf(request: IncomingMessage): RequestFacts {
  const { method = "GET", rawHeaders, headers, socket } = request;
  return { method, rawHeaders, headers, ...peerOf(socket) };
}

/** What there is to know of the other end of a connection. */
export function peerOf(socket: Socket): Pick<RequestFacts, "peer" | "isEncrypted"> {
  return {
    peer: socket.remoteAddress ?? "unknown",
    isEncrypted: (socket as Partial<TLSSocket>).encrypted === true,
  };
}

/** True when the request carries a body. */
export function hasBody({ headers }: Pick<RequestFacts, "headers">): boolean {
  const { "transfer-encoding": encoding, "content-length": length } = headers;
  return encoding !== undefined || Number(length ?? 0) > 0;
}

export interface WorkerHeaders {
  /** The peer is a proxy of ours: what it says about the client is true. */
  trustsProxy: boolean;
  /** Lets the request run code on a live worker. */
  liveSecret?: string | undefined;
}

/** The request's headers for the worker, with framing and `X-Forwarded-…` of our own. */
export function headersForWorker(
  request: RequestFacts,
  { trustsProxy, liveSecret }: WorkerHeaders,
): string[] {
  const headers = withoutHop(request.rawHeaders, request.headers.connection, NOT_FOR_WORKER);
  const { "content-length": length } = request.headers;
  // What anybody else claims to have been told would be believed by the worker, who trusts us.
  const told = trustsProxy ? request.headers : NOTHING_TOLD;
  const { "x-forwarded-for": before, "x-forwarded-host": host = request.headers.host } = told;
  const { peer } = request;
  headers.push("X-Forwarded-For", before === undefined ? peer : `${String(before)}, ${peer}`);
  if (host !== undefined) headers.push("X-Forwarded-Host", String(host));
  if (liveSecret !== undefined) headers.push(LIVE_SECRET_HEADER, liveSecret);
  const scheme = request.isEncrypted ? "https" : "http";
  headers.push("X-Forwarded-Proto", String(told["x-forwarded-proto"] ?? scheme));
  // Said outright: with a header list node:http would send a GET's chunked body without framing.
  if (!hasBody(request)) {
    if (!NO_BODY_METHODS.has(request.method)) headers.push("Content-Length", "0");
  } else if (length === undefined) headers.push("Transfer-Encoding", "chunked");
  else headers.push("Content-Length", length);
  return headers;
}

/** The headers with those that the gateway writes itself, in place of what the client calls the same. */
export function withOwn(headers: readonly string[], own: readonly string[]): string[] {
  if (own.length === 0) return [...headers];
  const names = new Set(
    own.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()),
  );
  const kept = headers.filter((_, index) => {
    const name = headers[index - (index % 2)] ?? "";
    return !names.has(name.toLowerCase());
  });
  return [...kept, ...own];
}

/** A worker's answer for the client. */
export function headersForClient(raw: readonly string[], workerId: string): string[] {
  const headers = withoutHop(raw, valueOf(raw, "connection"), WORKER_ANSWER);
  headers.push("X-Runpod-Worker-Id", workerId);
  return headers;
}

/** The value of a header in a flat list; several of them are one list. `name` is lower case. */
export function valueOf(raw: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const other = raw[index];
    if (other?.length !== name.length || other.toLowerCase() !== name) continue;
    value = value === undefined ? raw[index + 1] : `${value}, ${raw[index + 1] ?? ""}`;
  }
  return value;
}

const WORKER_ANSWER = new Set([WORKER_ID_HEADER, TIMING_HEADER, REQUEST_ID_HEADER]);

function withoutHop(
  raw: readonly string[],
  connection: string | undefined,
  also: ReadonlySet<string>,
): string[] {
  const named = connection === undefined ? undefined : namesIn(connection);
  const kept: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || also.has(lower) || named?.has(lower) === true) continue;
    kept.push(name, raw[index + 1] ?? "");
  }
  return kept;
}

/** `Connection: close, X-Internal` makes `X-Internal` a header of this connection only. */
function namesIn(connection: string): ReadonlySet<string> {
  const names = connection.split(",").map((name) => name.trim().toLowerCase());
  // Framing is never the client's to take away.
  return new Set(names.filter((name) => name !== "content-length" && name !== "host"));
}
