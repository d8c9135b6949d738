/** One HTTP exchange with an endpoint: time limit, cancellation, and failures in the caller's words. */

import { PROBLEM_TYPE, errorOfProblem } from "../contract/errors.ts";
import { FlashError, type ErrorCode } from "../contract/flash-error.ts";
import { parseOrUndefined } from "../contract/json.ts";
import type { Context } from "../contract/context.ts";
import { ORIGIN_HEADERS, chainHeader } from "../contract/origin.ts";
import { isLoopback } from "../contract/server-proof.ts";
import { TRACE_HEADERS, traceparentOf } from "../contract/trace.ts";
import { DEADLINE_HEADER } from "../contract/worker-env.ts";
import { readUrl } from "./environment.ts";
import type { Connection, Peer } from "./connection.ts";
import { callerContext } from "./in-process.ts";
import { seconds } from "./pause.ts";

export interface Outgoing {
  method: string;
  url: string;
  headers?: Readonly<Record<string, string>> | undefined;
  /** JSON text, or form data. */
  body?: string | FormData | undefined;
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Default `follow`. */
  redirect?: "follow" | "manual";
  /** False for work that outlives its caller, such as a submitted job. Default true. */
  passDeadline?: boolean;
  /** False: nobody waits for what the call begins, so it is no part of the caller's chain. Default true. */
  isWaitedFor?: boolean;
  /** The job ends when this request does, if a function makes it. Default false. */
  isAttached?: boolean;
}

/** Longest part of an answer's body that a message repeats, characters. */
const BODY_EXCERPT = 500;

/**
 * Sends a request and hands the answer to `read`, within the time. Throws `CALL_TIMEOUT`,
 * `CONNECTION_FAILED`, or the reason with which a signal aborted.
 */
export async function exchange<T>(
  peer: Pick<Peer, "name" | "headers" | "ownKey">,
  outgoing: Outgoing,
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const caller = callerContext();
  const { limitMs, endsAt } = limitOf(outgoing.timeoutMs, caller?.deadline);
  if (limitMs <= 0) throw timeoutError(peer.name, 0, "the caller's time is over");
  const given = [caller?.signal, outgoing.signal].filter((one) => one !== undefined);
  const timer = new AbortController();
  const handle =
    limitMs === Infinity
      ? undefined
      : setTimeout(() => timer.abort(), Math.min(limitMs, 2 ** 31 - 1));
  try {
    const signal = AbortSignal.any([timer.signal, ...given]);
    const headers = headersOf(peer, outgoing, { endsAt, caller });
    if (peer.ownKey === true && !headers.has("authorization")) {
      const { ownKey } = await import("./own-key.ts");
      const key = await ownKey(outgoing.url, signal);
      if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
    }
    const response = await fetch(outgoing.url, {
      method: outgoing.method,
      headers,
      body: outgoing.body ?? null,
      signal,
      redirect: outgoing.redirect ?? "follow",
    });
    return await read(response);
  } catch (error) {
    if (FlashError.is(error)) throw error;
    if (timer.signal.aborted)
      throw timeoutError(peer.name, limitMs, "no answer within the time", error);
    for (const signal of given) if (signal.aborted) throw signal.reason;
    throw connectionFailure(peer.name, outgoing.url, error);
  } finally {
    clearTimeout(handle);
  }
}

/** Throws when the answer is an error: `REMOTE_ERROR`, or what its problem document says. */
export async function ensureOk(
  response: Response,
  { name, connection }: Pick<Peer, "name" | "connection">,
): Promise<void> {
  if (response.status < 400) return;
  const text = await response.text();
  const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? PROBLEM_TYPE);
  const problem = isJson ? errorOfProblem(parseOrUndefined(text)) : undefined;
  if (problem?.code === "ENDPOINT_NOT_FOUND" && connection !== undefined) {
    throw endpointNotFound(name, connection);
  }
  // Which functions wait for each other is all there is to say, however many hops it has come.
  if (problem?.code === "CALL_LOOP") throw problem;
  const code: ErrorCode =
    problem?.code ?? (response.status === 401 ? "UNAUTHORIZED" : "REMOTE_ERROR");
  const hint = problem?.hint ?? (code === "UNAUTHORIZED" ? keyHint(response.url) : undefined);
  throw new FlashError(
    code,
    `HTTP error from endpoint ${name}: ${response.status} - ${excerptOf(text)}`,
    {
      status: response.status,
      cause: problem?.cause,
      details: { ...problem?.details, status: response.status, ...retryAfter(response) },
      ...(hint === undefined ? {} : { hint }),
      ...(problem?.issues === undefined ? {} : { issues: problem.issues }),
    },
  );
}

/** `Retry-After`, in seconds or as a date, as time from now. */
function retryAfter({ headers }: Response): { retryAfterMs?: number } {
  const text = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return ms > 0 ? { retryAfterMs: ms } : {};
}

export function endpointNotFound(name: string, { app, environment }: Connection): FlashError {
  return new FlashError(
    "ENDPOINT_NOT_FOUND",
    `endpoint '${name}' not found in app '${app}' environment '${environment}'. deploy it first with 'flash deploy'.`,
    { hint: "FLASH_APP and FLASH_ENV name another app or environment." },
  );
}

export function excerptOf(text: string): string {
  return text.length > BODY_EXCERPT ? `${text.slice(0, BODY_EXCERPT)}... (truncated)` : text;
}

/** How long the exchange may take, ms, and its end: never later than the caller's own, epoch ms. */
function limitOf(
  timeoutMs: number | undefined,
  deadline: number | undefined,
): { limitMs: number; endsAt: number } {
  const now = Date.now();
  const endsAt = Math.min(now + (timeoutMs ?? Infinity), deadline ?? Infinity);
  return { limitMs: endsAt - now, endsAt };
}

function headersOf(
  peer: Pick<Peer, "headers">,
  outgoing: Outgoing,
  { endsAt, caller }: { endsAt: number; caller: Context | undefined },
): Headers {
  const { headers, body, passDeadline } = outgoing;
  const all = new Headers({ accept: "*/*", ...peer.headers });
  // Form data brings its own type, with the boundary in it.
  if (typeof body === "string") all.set("content-type", "application/json");
  if (endsAt !== Infinity && passDeadline !== false) {
    all.set(DEADLINE_HEADER, String(Math.round(endsAt)));
  }
  if (caller !== undefined) addOrigin(all, outgoing, caller);
  for (const [name, value] of Object.entries(headers ?? {})) all.set(name, value);
  return all;
}

/** The trace goes to everybody, who waits for the call to our own server alone. */
function addOrigin(all: Headers, outgoing: Outgoing, { trace, chain }: Context): void {
  all.set(TRACE_HEADERS.parent, traceparentOf(trace));
  if (trace.state !== undefined) all.set(TRACE_HEADERS.state, trace.state);
  const server = readUrl("FLASH_URL");
  if (server === undefined || !outgoing.url.startsWith(`${server}/`)) return;
  if (outgoing.isWaitedFor !== false && chain.length > 0) {
    all.set(ORIGIN_HEADERS.chain, chainHeader(chain));
  }
  if (outgoing.isAttached === true) all.set(ORIGIN_HEADERS.attached, "1");
}

/** `CALL_TIMEOUT`, in the original's words. */
export function timeoutError(name: string, ms: number, why: string, cause?: unknown): FlashError {
  return new FlashError(
    "CALL_TIMEOUT",
    `Execution timeout on ${name} after ${seconds(ms)}: ${why}`,
    {
      hint: "Look at the endpoint's log, or allow more time: executionTimeoutMs of the endpoint, or timeoutMs of the call.",
      cause,
    },
  );
}

function connectionFailure(name: string, url: string, cause: unknown): FlashError {
  const { origin } = new URL(url);
  return new FlashError(
    "CONNECTION_FAILED",
    `Failed to connect to endpoint ${name} (${url}): ${deepestMessage(cause)}`,
    {
      cause,
      hint: isLoopback(origin)
        ? `Is a server running at ${origin}? 'flash server start' starts one, FLASH_URL names another.`
        : `Is ${origin} the right address, and reachable from here?`,
    },
  );
}

function keyHint(url: string): string {
  const origin = URL.parse(url)?.origin ?? "the server";
  return `Set FLASH_API_KEY to the key of ${origin}; 'flash token' prints it on the server.`;
}

/** `fetch failed` says nothing; what it was caused by does. */
function deepestMessage(error: unknown): string {
  let current = error as { message?: string; code?: string; cause?: unknown; errors?: unknown[] };
  for (let depth = 0; depth < 5; depth++) {
    const next = current.cause ?? current.errors?.[0];
    if (typeof next !== "object" || next === null) break;
    current = next;
  }
  return (current.message ?? "") === "" ? (current.code ?? String(error)) : String(current.message);
}
