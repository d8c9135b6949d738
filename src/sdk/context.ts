/** `context()`: what a running function knows about its call. */

import { contextStorage, type Context } from "../contract/context.ts";
import { FlashError } from "../contract/flash-error.ts";

/** What the running function knows about its call: identity, cancellation, progress. */
export function context(): Context {
  const current = contextStorage()?.getStore();
  if (current !== undefined) return current;
  throw new FlashError(
    "INVALID_USAGE",
    "context() was called outside of a running endpoint function.",
    {
      hint: "Call it inside the function, before or after any await, not at the module's top level.",
    },
  );
}
