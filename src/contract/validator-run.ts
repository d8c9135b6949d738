/** One run of a validator over a value: what its checks share, and how what they answer is put together. */

import type { Issue } from "./errors.ts";
import { isPlainJsonObject, withKey } from "./json.ts";

/** More issues than this help nobody, and a hostile body could hold millions. */
export const MAX_ISSUES = 100;

export type Check = (value: unknown, path: string, run: Run) => unknown;

export interface Run {
  issues: Issue[];
  /** How many problems were found, those beyond {@link MAX_ISSUES} included. */
  found: number;
  /**
   * Inside unions: what a reference said about a value. Branches that share a recursive type would
   * otherwise check the same values again and again, twice as often with every level.
   */
  memo: Map<Check, Map<object, Outcome>> | undefined;
}

export interface Outcome {
  result: unknown;
  issues: Issue[];
}

export function report(run: Run, path: string, message: string): void {
  run.found++;
  if (run.issues.length < MAX_ISSUES) run.issues.push({ path, message });
}

export function remembered(
  check: Check,
  value: object,
  { path, run, memo }: { path: string; run: Run; memo: Map<Check, Map<object, Outcome>> },
): unknown {
  let known = memo.get(check);
  if (known === undefined) memo.set(check, (known = new Map()));
  let outcome = known.get(value);
  if (outcome === undefined) {
    const inner: Run = { issues: [], found: 0, memo };
    outcome = { result: check(value, path, inner), issues: inner.issues };
    known.set(value, outcome);
  }
  for (const issue of outcome.issues) report(run, issue.path, issue.message);
  return outcome.result;
}

/** Runs every check on the same value, so that all its issues are known at once. */
export function all(checks: readonly Check[]): Check {
  const [only] = checks;
  if (checks.length === 1 && only !== undefined) return only;
  return (value, path, run) => {
    let result = value;
    for (const check of checks) result = merge(value, result, check(value, path, run));
    return result;
  };
}

/** What two checks made of the same value, together: each may have revived other parts of it. */
export function merge(original: unknown, a: unknown, b: unknown): unknown {
  if (a === original || a === b) return b;
  if (b === original) return a;
  if (Array.isArray(original) && Array.isArray(a) && Array.isArray(b)) {
    return original.map((item, index) => merge(item, a[index], b[index]));
  }
  if (!isPlainJsonObject(original) || !isPlainJsonObject(a) || !isPlainJsonObject(b)) return a;
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(original)) {
    withKey(result, key, merge(original[key], a[key], b[key]));
  }
  return result;
}
