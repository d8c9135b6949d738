/** An execution as an HTTP answer: every event as it happens, or one document at the end. */

import { FlashError } from "../../contract/errors.ts";
import { answerOfFailure, type ExecuteAnswer, type LiveEvent } from "../../contract/live.ts";

/** Gateways close connections that are silent for longer, ms. */
const KEEP_ALIVE_MS = 15_000;
/** Longest `stdout` of a document, characters: its end counts. */
const MAX_OUTPUT = 1024 * 1024;

/** `accept` is the request's header. */
export async function respond(
  events: AsyncIterable<LiveEvent>,
  accept: string | null | undefined,
): Promise<Response> {
  if (accept?.includes("text/event-stream") !== true) return Response.json(await collect(events));
  return new Response(eventStream(events), {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    },
  });
}

function eventStream(events: AsyncIterable<LiveEvent>): ReadableStream<Uint8Array> {
  const iterator = events[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  let timer: NodeJS.Timeout | undefined;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      timer = setInterval(() => {
        // A reader that is behind needs no sign of life.
        if ((controller.desiredSize ?? 0) > 0)
          controller.enqueue(encoder.encode(": keep-alive\n\n"));
      }, KEEP_ALIVE_MS);
    },
    async pull(controller) {
      const next = await iterator.next();
      if (next.done === true) {
        clearInterval(timer);
        controller.close();
      } else controller.enqueue(encoder.encode(`data: ${JSON.stringify(next.value)}\n\n`));
    },
    async cancel() {
      clearInterval(timer);
      await iterator.return?.();
    },
  });
}

/** The last event, with what came before it in its place. */
async function collect(events: AsyncIterable<LiveEvent>): Promise<ExecuteAnswer> {
  let stdout = "";
  let chunks: unknown[] | undefined;
  for await (const event of events) {
    if ("text" in event) stdout = (stdout + event.text).slice(-MAX_OUTPUT);
    else if ("streams" in event) chunks = [];
    else if ("chunk" in event) chunks?.push(event.chunk);
    else if ("success" in event) {
      const isStream = event.success && chunks !== undefined;
      return { ...event, ...(isStream ? { json_result: chunks } : {}), stdout };
    }
  }
  const early = new FlashError(
    "INTERNAL",
    "Unexpected error: the execution ended without a result",
  );
  return { ...answerOfFailure(early), stdout };
}
