/** Server-sent events as the values they carry: the answer of a route that streams. */

import { errorOfProblem } from "../contract/errors.ts";
import { FlashError } from "../contract/flash-error.ts";
import { parseOrUndefined } from "../contract/json.ts";

/** Yields the data of each event, parsed where it is JSON. An `error` event holds a problem document. */
export async function* eventsOf(body: ReadableStream<Uint8Array>, name: string): AsyncGenerator {
  for await (const { event, data } of parseEvents(textOf(body, name))) {
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

async function* parseEvents(
  pieces: AsyncIterable<string>,
): AsyncGenerator<{ event: string; data: string }> {
  let text = "";
  for await (const piece of pieces) {
    text += piece;
    const blocks = text.split(/\r\n\r\n|\n\n|\r\r/);
    text = blocks.pop() ?? "";
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block: string): { event: string; data: string } {
  const lines = block.split(/\r\n|\r|\n/);
  const valuesOf = (field: string): string[] =>
    lines
      .filter((line) => line.startsWith(`${field}:`))
      .map((line) => line.slice(field.length + 1).replace(/^ /, ""));
  return { event: valuesOf("event").at(-1) ?? "message", data: valuesOf("data").join("\n") };
}

async function* textOf(body: ReadableStream<Uint8Array>, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  try {
    for await (const bytes of body) yield decoder.decode(bytes, { stream: true });
  } catch (cause) {
    throw new FlashError("CONNECTION_FAILED", `the stream of endpoint ${name} broke off`, {
      cause,
    });
  }
}
