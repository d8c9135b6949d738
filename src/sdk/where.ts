/** `where()`: shows where a call would run. */

import { FlashError } from "../contract/flash-error.ts";
import type { Place } from "../contract/where.ts";
import { handleOf } from "./declare.ts";
import { decidePlace } from "./place.ts";

/**
 * Where a call of this function would run, and the reason in words: the table in the guide. Takes
 * what `Endpoint` and `remote` return, an endpoint with routes, or a resource.
 */
export function where(value: object): { place: Place; reason: string } {
  const handle = handleOf(value);
  if (handle === undefined) {
    throw new FlashError(
      "INVALID_USAGE",
      "where() takes a function, class or endpoint that Endpoint() or remote() returned.",
    );
  }
  const { place, reason } = decidePlace(handle);
  return { place, reason };
}
