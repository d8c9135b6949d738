/** Bodies close to those of the corpus: one of them, changed in a few places. */

import * as fc from "fast-check";
import { isPlainJsonObject, withKey } from "../../src/contract/json.ts";
import { ALL, inQueue, type NamedCase } from "./project.ts";
import { bodyOf, namedOf } from "./wire.ts";

export interface MutatedCall {
  one: NamedCase;
  input: Record<string, unknown>;
}

interface Mutation {
  /** Which child to go to, level by level; it ends where there is none. */
  steps: number[];
  how: "replace" | "remove" | "add";
  key: string;
  value: unknown;
}

const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  1,
  -1.5,
  1e21,
  "",
  "x",
  "5",
  "red",
  "2026-01-31T12:00:00.000Z",
  [],
  {},
  [1],
  ["a"],
  [["a", 1]],
  { a: 1 },
  { id: 1 },
  { kind: "circle" },
];
const KEYS = ["extra", "id", "a", "x-a", "0", "constructor", "__proto__", "get_x"];

const mutation: fc.Arbitrary<Mutation> = fc.record({
  steps: fc.array(fc.nat(7), { minLength: 1, maxLength: 5 }),
  how: fc.constantFrom("replace", "replace", "remove", "add"),
  key: fc.constantFrom(...KEYS),
  value: fc.constantFrom(...VALUES),
});

/** Whether base64 is whole cannot be said by a pattern that runs over megabytes: no bytes here. */
const cases = ALL.filter((one) => inQueue(one) && !one.takes.includes("Uint8Array"));

export const mutatedCalls: fc.Arbitrary<MutatedCall> = fc
  .tuple(fc.constantFrom(...cases), fc.nat(), fc.array(mutation, { minLength: 1, maxLength: 3 }))
  .map(([one, number, mutations]) => {
    const calls = [...one.valid, ...one.invalid];
    const call = calls[number % calls.length] ?? { args: [] };
    const start = bodyOf(namedOf(one, call.args, "qb"));
    const input = mutations.reduce((value, step) => mutate(value, step, step.steps), start);
    return { one, input: isPlainJsonObject(input) ? input : {} };
  });

function mutate(value: unknown, mutation: Mutation, steps: readonly number[]): unknown {
  const [step, ...rest] = steps;
  const isList = Array.isArray(value);
  if (step === undefined || (!isList && !isPlainJsonObject(value))) return mutation.value;
  const entries = Object.entries(value);
  if (rest.length === 0 && mutation.how === "add") {
    entries.push([isList ? String(entries.length) : mutation.key, mutation.value]);
  }
  const place = step % Math.max(1, entries.length);
  const [key, child] = entries[place] ?? [];
  if (rest.length > 0 || mutation.how === "replace") {
    if (key !== undefined) entries[place] = [key, mutate(child, mutation, rest)];
  } else if (mutation.how === "remove") entries.splice(place, 1);
  if (isList) return entries.map(([, item]) => item as unknown);
  return entries.reduce((object, [name, item]) => withKey(object, name, item), {});
}
