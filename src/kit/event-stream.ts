/** Server-sent events out of a body's bytes. */

export interface ServerSentEvent {
  /** `message` unless it says otherwise. */
  event: string;
  data: string;
  /** For `Last-Event-ID`; undefined when the event has none. */
  id: string | undefined;
}

/** The events of a body. Comments are left out; an event that the end cuts off is dropped. */
export async function* serverSentEvents(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of body) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split(/\r\n\r\n|\n\n|\r\r/);
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = eventOf(block);
      if (event !== undefined) yield event;
    }
  }
}

function eventOf(block: string): ServerSentEvent | undefined {
  const lines = block.split(/\r\n|\r|\n/);
  const valuesOf = (field: string): string[] =>
    lines
      .filter((line) => line.startsWith(`${field}:`))
      .map((line) => line.slice(field.length + 1).replace(/^ /, ""));
  const data = valuesOf("data");
  const event = valuesOf("event").at(-1);
  if (data.length === 0 && event === undefined) return undefined;
  return { event: event ?? "message", data: data.join("\n"), id: valuesOf("id").at(-1) };
}
