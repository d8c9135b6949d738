/** Sample values for schemas, so that a printed call is one that works. */

import { alternatives, type JsonSchema } from "./schema.ts";

/** Deeper than this a sample stays empty: it is read by a person, and schemas may be recursive. */
const MAX_DEPTH = 5;

/** Texts that say what is meant, by the parameter's name. */
const TEXTS: readonly (readonly [name: RegExp, text: string])[] = [
  [/e.?mail/i, "alice@example.com"],
  [/url|uri|link/i, "https://example.com"],
  [/prompt|question/i, "a red fox"],
  [/message|text|content|body/i, "hello"],
  [/name$/i, "Alice"],
  [/lang/i, "en"],
];

const FORMATS: Readonly<Record<string, string>> = {
  date: "2026-01-31",
  "date-time": "2026-01-31T12:00:00Z",
  email: "alice@example.com",
  uri: "https://example.com",
  url: "https://example.com",
  uuid: "5f0c8c5e-7a4d-4a3e-9c39-0d8b1f2a6c11",
};

/** A value that the schema accepts, in almost every case. `name` is the parameter's. */
export function sampleValue(
  schema: JsonSchema,
  name: string,
  root: JsonSchema = schema,
  depth = 0,
): unknown {
  const branches = alternatives(schema, root);
  const branch = branches.find((one) => one.type !== "null") ?? branches[0] ?? {};
  for (const given of [
    schema.default,
    branch.default,
    schema.examples?.[0],
    branch.examples?.[0],
  ]) {
    if (given !== undefined) return given;
  }
  if (branch.const !== undefined) return branch.const;
  if (branch.enum !== undefined) return branch.enum[0];
  const type = Array.isArray(branch.type) ? branch.type[0] : branch.type;
  switch (type) {
    case "integer":
    case "number":
      return sampleNumber(branch);
    case "boolean":
      return true;
    case "array":
      return sampleItems(branch, { name, root, depth });
    case "object":
      return sampleObject(branch, root, depth);
    case "null":
      return null;
    default:
      return sampleText(branch, name);
  }
}

/** The required properties of an object schema; the optional ones too when there is nothing else. */
export function sampleObject(
  schema: JsonSchema,
  root: JsonSchema = schema,
  depth = 0,
): Record<string, unknown> {
  if (depth > MAX_DEPTH) return {};
  const properties = Object.entries(schema.properties ?? {});
  const required = properties.filter(([name]) => schema.required?.includes(name) === true);
  const shown = required.length > 0 || depth > 0 ? required : properties;
  return Object.fromEntries(
    shown.map(([name, one]) => [name, sampleValue(one, name, root, depth + 1)]),
  );
}

function sampleNumber(schema: JsonSchema): number {
  const { minimum, exclusiveMinimum, maximum, multipleOf } = schema;
  const least = minimum ?? (exclusiveMinimum === undefined ? undefined : exclusiveMinimum + 1);
  const start = Math.min(Math.max(least ?? 1, 1), maximum ?? Infinity);
  const plain = least !== undefined && least > 1 ? least : start;
  return multipleOf === undefined ? plain : Math.ceil(plain / multipleOf) * multipleOf;
}

function sampleItems(
  schema: JsonSchema,
  at: { name: string; root: JsonSchema; depth: number },
): unknown[] {
  if (at.depth > MAX_DEPTH) return [];
  const name = at.name.replace(/s$/, "");
  if (schema.prefixItems !== undefined) {
    return schema.prefixItems.map((item) => sampleValue(item, name, at.root, at.depth + 1));
  }
  const items = typeof schema.items === "object" ? schema.items : {};
  const length = Math.max(1, schema.minItems ?? 1);
  return Array.from({ length }, () => sampleValue(items, name, at.root, at.depth + 1));
}

function sampleText(schema: JsonSchema, name: string): string {
  const { format, minLength = 0, maxLength = Infinity } = schema;
  if (schema["x-flash-type"] === "bigint") return "1";
  if (schema["x-flash-type"] === "date") return FORMATS["date-time"] ?? "";
  if (schema["x-flash-type"] === "bytes") return "aGVsbG8=";
  const known = format === undefined ? undefined : FORMATS[format];
  const text = known ?? TEXTS.find(([pattern]) => pattern.test(name))?.[1] ?? "text";
  return text.padEnd(minLength, "x").slice(0, maxLength);
}
