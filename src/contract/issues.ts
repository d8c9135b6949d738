/** What is wrong with an input, in words. */

import type { Issue } from "./errors.ts";

/** More than these in one sentence are only counted. */
const SPELLED_OUT = 5;

/** All issues as one sentence. */
export function sentence(issues: readonly Issue[]): string {
  const parts = issues
    .slice(0, SPELLED_OUT)
    .map(({ path, message }) => (path === "" ? message : `${path} ${message}`));
  const more = issues.length - parts.length;
  return `${parts.join("; ")}${more > 0 ? `; and ${more} more` : ""}.`;
}
