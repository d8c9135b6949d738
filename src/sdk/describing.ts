/** While the compiler evaluates a project to learn what it declares, nothing of it is called. */

import { FlashError } from "../contract/flash-error.ts";
import { registry } from "../contract/registry.ts";

export function isDescribing(): boolean {
  return registry().mode === "describe";
}

/** What a call meets meanwhile: the compiler expects it. */
export function describingError(): FlashError {
  return new FlashError("INVALID_USAGE", "Nothing is called while the project is being built.", {
    hint: "Move calls out of the module's top level, into a function that only your script runs.",
    details: { describing: true },
  });
}

/** A rejection that is no unhandled one when nobody waits for it: evaluation simply goes on. */
export function refusal(): Promise<never> {
  const refused = Promise.reject(describingError());
  refused.catch(() => undefined);
  return refused;
}
