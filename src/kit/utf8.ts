/** Text from bytes that have to be UTF-8. */

/** It leaves out a byte order mark at the beginning. Source: RFC 8259 8.1 for JSON. */
const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * The text of bytes; undefined when they are not UTF-8: reading them all the same would put other characters
 * in their place.
 */
export function utf8Text(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
