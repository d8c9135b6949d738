/** Names that come in over the control API. */

import { FlashError } from "../../contract/errors.ts";
import { checkName } from "../../contract/options.ts";

/** Throws `INVALID_REQUEST`: names become folder names and parts of URLs. */
export function requireName(what: "app" | "environment", name: string): void {
  const wrong = checkName(name);
  if (wrong !== undefined) throw new FlashError("INVALID_REQUEST", `${what} ${wrong}`);
}
