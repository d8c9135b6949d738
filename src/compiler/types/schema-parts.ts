/** Building and rebuilding schemas, without regard to where they come from. */

import { canonical, withKey } from "../../contract/json.ts";
import type { JsonSchema, SchemaType } from "../../contract/schema.ts";

export function literalSchema(values: readonly unknown[]): JsonSchema {
  const types = [...new Set(values.map((value) => typeof value))] as SchemaType[];
  const [only] = types;
  const type = types.length === 1 && only !== undefined ? only : types;
  return values.length === 1 ? { type, const: values[0] } : { type, enum: [...values] };
}

const SCALARS = new Set<unknown>(["string", "number", "integer", "boolean"]);

/** The smallest schema for a union: type lists for scalars, `anyOf` for the rest. */
export function uniteSchemas(all: readonly JsonSchema[], isNullable: boolean): JsonSchema {
  const branches = [...new Map(all.map((one) => [canonical(one), one])).values()];
  if (branches.some((branch) => Object.keys(branch).length === 0)) return {};
  const scalars = branches.filter(isBareScalar);
  const others = branches.filter((branch) => !isBareScalar(branch));
  const types = scalars.map((branch) => branch.type as SchemaType);
  const [only] = branches;
  if (isNullable && branches.length === 1 && only !== undefined && isScalarEnum(only)) {
    const values = only.enum ?? [only.const];
    return { type: [...[only.type ?? []].flat(), "null"], enum: [...values, null] };
  }
  if (isNullable && others.length === 0) types.push("null");
  const united: JsonSchema[] = [...others];
  if (types.length > 0) {
    united.push({ type: types.length === 1 && types[0] !== undefined ? types[0] : types });
  }
  if (isNullable && others.length > 0) united.push({ type: "null" });
  return united.length === 1 && united[0] !== undefined
    ? united[0]
    : united.length === 0
      ? {}
      : { anyOf: united };
}

function isBareScalar(schema: JsonSchema): boolean {
  return Object.keys(schema).length === 1 && SCALARS.has(schema.type);
}

function isScalarEnum(schema: JsonSchema): boolean {
  const keys = Object.keys(schema);
  return (
    (keys.includes("enum") || keys.includes("const")) &&
    keys.every((key) => key === "type" || key === "enum" || key === "const")
  );
}

/** Nothing but words may stand beside `$ref`: validators of older drafts would not see a rule there. */
export function besideReference(reference: JsonSchema, siblings: JsonSchema): JsonSchema {
  const { description, ...rules } = siblings;
  const words = description === undefined ? {} : { description };
  if (Object.keys(rules).length === 0) return { ...reference, ...words };
  return { allOf: [reference], ...rules, ...words };
}

/** Copies a schema with every reference replaced. */
export function mapSchema(
  schema: JsonSchema,
  replace: (reference: JsonSchema) => JsonSchema,
): JsonSchema {
  const map = (node: JsonSchema): JsonSchema => mapSchema(node, replace);
  if (schema.$ref !== undefined) return replace(schema);
  const copy: JsonSchema = { ...schema };
  for (const key of ["properties", "patternProperties"] as const) {
    const parts = schema[key];
    if (parts === undefined) continue;
    const mapped: Record<string, JsonSchema> = {};
    for (const [name, part] of Object.entries(parts)) withKey(mapped, name, map(part));
    copy[key] = mapped;
  }
  for (const key of ["anyOf", "allOf", "prefixItems"] as const) {
    const parts = schema[key];
    if (parts !== undefined) copy[key] = parts.map(map);
  }
  if (typeof schema.items === "object") copy.items = map(schema.items);
  if (typeof schema.additionalProperties === "object") {
    copy.additionalProperties = map(schema.additionalProperties);
  }
  return copy;
}
