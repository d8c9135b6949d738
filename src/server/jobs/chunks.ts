/** Stream chunks on their way into the store. */

import { LIMITS } from "../../contract/limits.ts";

/** JSON texts of one chunk: a long string becomes several strings, other values stay whole. */
export function splitChunk(output: unknown, outputText: string | undefined): string[] {
  const text = outputText ?? JSON.stringify(output) ?? "null";
  // UTF-8 needs at most three bytes for a UTF-16 unit.
  const size = Math.floor(LIMITS.streamChunkBytes / 3);
  if (typeof output !== "string" || Buffer.byteLength(text) <= LIMITS.streamChunkBytes) {
    return [text];
  }
  const pieces: string[] = [];
  for (let at = 0; at < output.length;) {
    let end = Math.min(at + size, output.length);
    const last = output.charCodeAt(end - 1);
    // Not between the halves of one character.
    if (end < output.length && last >= 0xd800 && last <= 0xdbff) end--;
    pieces.push(JSON.stringify(output.slice(at, end)));
    at = end;
  }
  return pieces;
}
