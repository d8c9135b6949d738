/** Server-sent events as the values they carry: the answer of a route that streams. */

import { errorOfProblem } from "../contract/errors.ts";
import { FlashError } from "../contract/flash-error.ts";
import { parseOrUndefined } from "../contract/json.ts";
import { serverSentEvents } from "../kit/event-stream.ts";

/** Yields the data of each event, parsed where it is JSON. An `error` event holds a problem document. */
export async function* eventsOf(body: ReadableStream<Uint8Array>, name: string): AsyncGenerator {
  for await (const { event, data } of serverSentEvents(bytesOf(body, name))) {
    if (event === "error") {
      throw (
        errorOfProblem(parseOrUndefined(data)) ??
        new FlashError(
          "REMOTE_ERROR",
          `the stream of endpoint ${name} ended with an error: ${data}`,
        )
      );
    }
    if (event === "message" && data !== "") {
      const value = parseOrUndefined(data);
      yield value === undefined ? data : value;
    }
  }
}

async function* bytesOf(
  body: ReadableStream<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const bytes of body) yield bytes;
  } catch (cause) {
    throw new FlashError("CONNECTION_FAILED", `the stream of endpoint ${name} broke off`, {
      cause,
    });
  }
}
