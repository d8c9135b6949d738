/** The value that an HTTP answer carries. */

import { FlashError } from "../contract/flash-error.ts";
import { parseOrUndefined } from "../contract/json.ts";
import type { Peer } from "./connection.ts";
import { eventsOf } from "./events.ts";

/** An answer's value by its media type; undefined when it has no body. */
export async function readAnswer(
  response: Response,
  { name }: Pick<Peer, "name">,
): Promise<unknown> {
  const type = response.headers.get("content-type") ?? "";
  if (response.body === null || response.status === 204) return undefined;
  if (/^text\/event-stream\b/.test(type)) return eventsOf(response.body, name);
  if (/\bjson\b/.test(type)) {
    const text = await response.text();
    if (text === "") return undefined;
    const value = parseOrUndefined(text);
    if (value !== undefined) return value;
    throw new FlashError("REMOTE_ERROR", `endpoint ${name} answered with malformed JSON`);
  }
  if (type.startsWith("text/")) return response.text();
  const bytes = new Uint8Array(await response.arrayBuffer());
  return type === "" && bytes.length === 0 ? undefined : bytes;
}
