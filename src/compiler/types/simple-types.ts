/** Types that are one schema, whatever they are part of. */

import type { JsonSchema } from "../../contract/schema.ts";
import { TypeFlags } from "./typescript.ts";

export const BIGINT: Readonly<JsonSchema> = {
  type: "string",
  pattern: String.raw`^-?\d+$`,
  "x-flash-type": "bigint",
};

export function simpleSchema(flags: TypeFlags): JsonSchema | undefined {
  if (flags & TypeFlags.AnyOrUnknown) return {};
  if (flags & TypeFlags.String) return { type: "string" };
  if (flags & TypeFlags.Number) return { type: "number" };
  if (flags & TypeFlags.Boolean) return { type: "boolean" };
  if (flags & TypeFlags.BigIntLike) return BIGINT;
  if (flags & TypeFlags.Null) return { type: "null" };
  if (flags & (TypeFlags.Undefined | TypeFlags.Void)) return {};
  if (flags & TypeFlags.NonPrimitive) return { type: ["object", "array"] };
  // An enum with computed members: its values are not known.
  if (flags & TypeFlags.Enum && !(flags & TypeFlags.Union)) return { type: "number" };
  return undefined;
}
