/**
 * A streamed result as server-sent events: one event a value, numbered, its data one line of JSON.
 *
 *   id: 0
 *   data: {"token":"Hello"}
 *
 *   : keep-alive                      while there is nothing to say
 *
 *   event: error                      the function failed; the data is a problem document
 *   data: {"code":"FUNCTION_ERROR",…}
 */

import type { FlashError } from "../../contract/errors.ts";
import { abortable } from "../../kit/abort.ts";
import { systemClock } from "../../kit/clock.ts";
import type { Delivery } from "./delivery.ts";
import type { RouteResponse } from "./exchange.ts";

/** Proxies close connections that are silent for longer, ms. */
const HEARTBEAT_MS = 15_000;
/** The head waits this long for the first value, so that a function failing at once has its own status, ms. */
const HEAD_WAIT_MS = 1000;

/**
 * Sends every value. Rejects when the function fails before anything has been sent; resolves with
 * the error when it fails later.
 */
export async function sendEvents(
  values: AsyncIterable<unknown> | Iterable<unknown>,
  delivery: Delivery,
): Promise<FlashError | undefined> {
  const { response, callable } = delivery;
  const { signal } = delivery.call;
  const iterator = iteratorOf(values);
  if (response.req.method === "HEAD") {
    stop(iterator);
    sendHead(response);
    response.end();
    return undefined;
  }
  const cancelHead = systemClock.after(HEAD_WAIT_MS, () => sendHead(response));
  const heartbeat = setInterval(() => beat(response), HEARTBEAT_MS);
  try {
    for (let id = 0; ; id++) {
      const next = await abortable(Promise.resolve(iterator.next()), signal);
      if (next.done === true) break;
      const data = JSON.stringify(await callable.encode(next.value));
      sendHead(response);
      await write(response, `id: ${id}\ndata: ${data}\n\n`, signal);
    }
    sendHead(response);
    response.stream.end();
    return undefined;
  } catch (thrown) {
    stop(iterator);
    const error = signal.aborted ? callable.endedBy(signal) : callable.failed(thrown);
    if (!response.headersSent) throw error;
    if (!response.destroyed) {
      response.stream.end(`event: error\ndata: ${JSON.stringify(delivery.describe(error))}\n\n`);
    }
    return error;
  } finally {
    cancelHead();
    clearInterval(heartbeat);
  }
}

function iteratorOf(
  values: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncIterator<unknown> | Iterator<unknown> {
  return Symbol.asyncIterator in values
    ? values[Symbol.asyncIterator]()
    : values[Symbol.iterator]();
}

function sendHead(response: RouteResponse): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
}

function beat(response: RouteResponse): void {
  // A client that reads slower than we write needs no sign of life, and gets no growing buffer.
  if (!response.destroyed && !response.stream.writableNeedDrain)
    response.stream.write(": keep-alive\n\n");
}

/** Waits when the client reads slower than the function produces. */
async function write(response: RouteResponse, text: string, signal: AbortSignal): Promise<void> {
  const { stream } = response;
  if (response.destroyed || stream.write(text)) return;
  const drained = Promise.withResolvers<void>();
  stream.once("drain", drained.resolve);
  try {
    await abortable(drained.promise, signal);
  } finally {
    stream.off("drain", drained.resolve);
  }
}

/** Lets a generator run its `finally`. It may take long or fail: nobody is left to be told. */
function stop(iterator: AsyncIterator<unknown> | Iterator<unknown>): void {
  const stopping = async (): Promise<void> => {
    await iterator.return?.();
  };
  stopping().catch(() => undefined);
}
