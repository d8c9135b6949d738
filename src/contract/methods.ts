/**
 * Which function of a queue endpoint an input is for. With one public method the input goes straight
 * to it, with several `input.method` says which, and the other keys are that method's input.
 */

import { FlashError } from "./errors.ts";
import { isPlainJsonObject, ownValue, show } from "./json.ts";
import type { FunctionManifest } from "./manifest.ts";

/**
 * The function and its own input. `label` names the class or endpoint in messages. Throws
 * `INVALID_INPUT` when there are several and none of them is named; texts are the original's.
 */
export function chooseFunction<F extends FunctionManifest>(
  functions: readonly F[],
  input: unknown,
  label: string,
): { fn: F; input: unknown } {
  const [only] = functions;
  if (functions.length === 1 && only !== undefined) {
    const isOwnKey = only.parameters.some(
      ({ name, schema }) =>
        name === "method" || ownValue(schema.properties, "method") !== undefined,
    );
    return { fn: only, input: isOwnKey ? input : withoutMethod(input, only.name) };
  }
  const method = isPlainJsonObject(input) ? ownValue(input, "method") : undefined;
  const fn = functions.find(({ name }) => name === method);
  if (fn !== undefined) return { fn, input: withoutMethod(input, fn.name) };
  const names = functions
    .map(({ name }) => name)
    .sort()
    .join(", ");
  const isMissing = method === undefined || method === null;
  const shown = typeof method === "string" ? method : show(method);
  throw new FlashError(
    "INVALID_INPUT",
    isMissing
      ? `class ${label} has multiple methods: ${names}. include a "method" key in the input.`
      : `unknown method '${shown}' on ${label}. available: ${names}`,
    {
      issues: [
        {
          path: "method",
          message: `${isMissing ? "is required: one of" : "must be one of"} ${names}`,
        },
      ],
    },
  );
}

function withoutMethod(input: unknown, name: string): unknown {
  if (!isPlainJsonObject(input) || ownValue(input, "method") !== name) return input;
  const { method: _, ...rest } = input;
  return rest;
}
