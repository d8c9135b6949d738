/** Sends what a route function returned: JSON, a web Response, a byte stream, or events. */

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { FlashError, PROBLEM_TYPE, problemOf, type Problem } from "../../contract/errors.ts";
import { RESULT_HEADER } from "../../contract/worker-env.ts";
import { systemClock } from "../../kit/clock.ts";
import { isStream } from "../callable.ts";
import { withoutStacks } from "../stack.ts";
import type { Delivery } from "./delivery.ts";
import { sendEvents } from "./events.ts";
import type { RouteResponse } from "./exchange.ts";
import { hasBody } from "./request.ts";

/** A client that was refused may go on sending for this long, ms. */
const LINGER_MS = 5000;
/** Said about this hop alone; the server writes its own. */
const HOP_HEADERS = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "trailer",
]);

/**
 * Sends a result to its end. Rejects when nothing has been sent yet and the result cannot be;
 * resolves with the error of an answer that broke off.
 */
export async function deliver(value: unknown, delivery: Delivery): Promise<FlashError | undefined> {
  const { response, callable } = delivery;
  if (isWebResponse(value)) return await sendResponse(value, delivery);
  if (isByteStream(value)) {
    response.setHeader("content-type", "application/octet-stream");
    response.setHeader(RESULT_HEADER, "stream");
    return await sendBytes(value, delivery);
  }
  if (isStream(value)) return await sendEvents(value, delivery);
  sendJson(response, { status: 200, value: await callable.encode(value) });
  return undefined;
}

export function sendJson(
  response: RouteResponse,
  {
    status,
    value,
    type = "application/json; charset=utf-8",
  }: { status: number; value: unknown; type?: string },
): void {
  if (response.destroyed) return;
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { "content-type": type, "content-length": body.length });
  if (response.req.complete || !hasBody(response.req)) response.end(body);
  else endAfterRequest(response, body);
}

/**
 * Ends an answer that is given before the request has been read. Ending closes a connection that is
 * not kept, and closing while the client sends would destroy the answer on its way: the rest is read
 * and dropped first, for a while.
 */
function endAfterRequest(response: RouteResponse, body: Buffer): void {
  response.stream.write(body);
  const end = (): void => {
    cancel();
    response.stream.end();
  };
  const cancel = systemClock.after(LINGER_MS, end);
  response.req.stream.once("close", end);
  response.req.stream.resume();
}

export function sendProblem(response: RouteResponse, problem: Problem): void {
  sendJson(response, { status: problem.status, value: problem, type: PROBLEM_TYPE });
}

/** The problem document of an error; stacks stay in the log unless they are asked for. */
export function describeFailure(error: FlashError, sendsStacks: boolean): Problem {
  const problem = problemOf(error);
  if (problem.error === undefined || sendsStacks) return problem;
  return { ...problem, error: withoutStacks(problem.error) };
}

async function sendResponse(from: Response, delivery: Delivery): Promise<FlashError | undefined> {
  const { response, callable } = delivery;
  if (from.status < 200 || from.bodyUsed) {
    const fault = from.bodyUsed ? "its body has already been read" : "it is an error response";
    throw new FlashError(
      "INVALID_OUTPUT",
      `'${callable.manifest.name}' returned a Response that cannot be sent: ${fault}.`,
    );
  }
  response.statusCode = from.status;
  if (from.statusText !== "") response.statusMessage = from.statusText;
  copyHeaders(from, response);
  response.setHeader(RESULT_HEADER, "response");
  if (from.body === null || response.req.method === "HEAD") {
    await from.body?.cancel();
    response.end();
    return undefined;
  }
  return await sendBytes(from.body, delivery);
}

function copyHeaders(from: Response, response: RouteResponse): void {
  // A fetched body has been decompressed on its way in, its headers still describe the old form.
  const isDecoded = from.url !== "" && from.headers.has("content-encoding");
  for (const [name, value] of from.headers) {
    if (HOP_HEADERS.has(name) || name === "set-cookie") continue;
    if (isDecoded && (name === "content-encoding" || name === "content-length")) continue;
    response.setHeader(name, value);
  }
  const cookies = from.headers.getSetCookie();
  if (cookies.length > 0) response.setHeader("set-cookie", cookies);
}

/** Streams bytes as fast as the client reads. A broken source breaks the answer off, visibly. */
async function sendBytes(
  body: ReadableStream,
  { response, call: { signal }, callable }: Delivery,
): Promise<FlashError | undefined> {
  // The head goes out at once: the first byte may take its time.
  response.flushHeaders();
  try {
    await pipeline(Readable.fromWeb(body as NodeReadableStream), response.stream, { signal });
    return undefined;
  } catch (thrown) {
    return signal.aborted ? callable.endedBy(signal) : callable.failed(thrown);
  }
}

// By tag: user code may bring a fetch of its own, whose Response is another class.
function isWebResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === "[object Response]";
}

function isByteStream(value: unknown): value is ReadableStream {
  return Object.prototype.toString.call(value) === "[object ReadableStream]";
}
