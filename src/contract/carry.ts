/**
 * How values travel: JavaScript values to JSON, and JSON values to and from the text of paths,
 * query strings and form fields. `encode` then `decode` gives the value back.
 */

import type { Issue } from "./errors.ts";
import {
  alternatives,
  isPlainJsonObject,
  joinPath,
  show,
  withKey,
  type JsonSchema,
  type RichType,
} from "./schema.ts";

/**
 * Turns a value into plain JSON. Rich values travel only where the schema says so; what JSON cannot
 * carry (NaN, Map, functions, cycles …) becomes an issue naming its place. `undefined` properties
 * are left out, as JSON.stringify does.
 */
export function encodeJson(
  value: unknown,
  schema: JsonSchema,
  path: string,
  issues: Issue[],
): unknown {
  return encode(value, alternatives(schema, schema), { root: schema, issues, ancestors: [] }, path);
}

interface Encoding {
  root: JsonSchema;
  issues: Issue[];
  ancestors: object[];
}

function encode(
  value: unknown,
  schemas: readonly JsonSchema[],
  run: Encoding,
  path: string,
): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (Number.isFinite(value)) return value;
      return refuse(
        run,
        path,
        `is ${value}, which JSON cannot carry; send null or a string instead`,
      );
    case "bigint":
      if (allows(schemas, "bigint")) return value.toString();
      return refuse(
        run,
        path,
        "is a bigint, which JSON cannot carry; declare the type as bigint or send a string",
      );
    case "undefined":
      return refuse(run, path, "is undefined, which JSON cannot carry; send null instead");
    case "function":
    case "symbol":
      return refuse(run, path, `is a ${typeof value}, which JSON cannot carry`);
    case "object":
      return value === null ? null : encodeObject(value, schemas, run, path);
  }
}

function encodeObject(
  value: object,
  schemas: readonly JsonSchema[],
  run: Encoding,
  path: string,
): unknown {
  if (run.ancestors.includes(value)) {
    return refuse(run, path, "refers back to a value that holds it, which JSON cannot carry");
  }
  if (value instanceof Date) return encodeDate(value, schemas, run, path);
  const deeper = { ...run, ancestors: [...run.ancestors, value] };
  if (Array.isArray(value)) return encodeItems(value, schemas, deeper, path);
  if (value instanceof Set) {
    if (allows(schemas, "set")) return encodeItems([...value], schemas, deeper, path);
    return refuse(
      run,
      path,
      "is a Set, which JSON cannot carry; declare the type as Set or send an array",
    );
  }
  if (value instanceof Uint8Array && allows(schemas, "bytes")) return toBase64(value);
  if (!isPlainJsonObject(value)) return encodeInstance(value, schemas, run, path);
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const at = joinPath(path, key);
    withKey(result, key, encode(item, property(schemas, key, run.root), deeper, at));
  }
  return result;
}

function encodeDate(
  value: Date,
  schemas: readonly JsonSchema[],
  run: Encoding,
  path: string,
): unknown {
  if (Number.isNaN(value.getTime())) return refuse(run, path, "is an invalid Date");
  if (allows(schemas, "date")) return value.toISOString();
  return refuse(
    run,
    path,
    "is a Date, which JSON cannot carry; declare the type as Date or send toISOString()",
  );
}

function encodeItems(
  items: readonly unknown[],
  schemas: readonly JsonSchema[],
  run: Encoding,
  path: string,
): unknown[] {
  // Array.from visits holes, which forEach and map skip.
  return Array.from(items, (item, index) =>
    encode(item, element(schemas, index, run.root), run, `${path}[${index}]`),
  );
}

function encodeInstance(
  value: object,
  schemas: readonly JsonSchema[],
  run: Encoding,
  path: string,
): unknown {
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === "function") {
    const plain: unknown = (toJSON as () => unknown).call(value);
    return encode(plain, schemas, { ...run, ancestors: [...run.ancestors, value] }, path);
  }
  const name = value.constructor?.name ?? "object";
  const advice =
    value instanceof Map
      ? "send a plain object instead"
      : "send a plain object, or call the endpoint over HTTP yourself";
  return refuse(run, path, `is a ${name}, which JSON cannot carry; ${advice}`);
}

function refuse(run: Encoding, path: string, message: string): null {
  run.issues.push({ path, message });
  return null;
}

function allows(schemas: readonly JsonSchema[], rich: RichType): boolean {
  return schemas.some((schema) => schema["x-flash-type"] === rich);
}

/** What is known about a property: the union over the alternatives that are objects. */
function property(schemas: readonly JsonSchema[], key: string, root: JsonSchema): JsonSchema[] {
  return withParts(schemas, root).flatMap((schema) => {
    const own = schema.properties?.[key];
    if (own !== undefined) return alternatives(own, root);
    const others = schema.additionalProperties;
    return typeof others === "object" ? alternatives(others, root) : [];
  });
}

function element(schemas: readonly JsonSchema[], index: number, root: JsonSchema): JsonSchema[] {
  return withParts(schemas, root).flatMap((schema) => {
    const own = schema.prefixItems?.[index] ?? schema.items;
    return typeof own === "object" ? alternatives(own, root) : [];
  });
}

function withParts(schemas: readonly JsonSchema[], root: JsonSchema): JsonSchema[] {
  return schemas.flatMap((schema) => [
    schema,
    ...(schema.allOf ?? []).flatMap((part) => alternatives(part, root)),
  ]);
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/**
 * A JSON value as text for a path segment, query value or form field. Strings go as they are, unless
 * the schema also accepts something that the same text could mean: then they are quoted.
 */
export function toText(value: unknown, schema: JsonSchema, root: JsonSchema = schema): string {
  if (typeof value !== "string") return JSON.stringify(value);
  const decoded = fromText(value, schema, root);
  return decoded === value ? value : JSON.stringify(value);
}

/**
 * The JSON value that a text means under a schema. When nothing fits, the text itself: validation
 * then complains about it in words the caller understands.
 */
export function fromText(text: string, schema: JsonSchema, root: JsonSchema = schema): unknown {
  const branches = withParts(alternatives(schema, root), root);
  const types = new Set(branches.flatMap(typesOf));
  if (types.has("any")) return text;
  if ((types.has("number") || types.has("integer")) && isNumberText(text)) return Number(text);
  if (types.has("boolean") && (text === "true" || text === "false")) return text === "true";
  if (types.has("null") && text === "null") return null;
  const mayBeJson =
    types.has("object") || types.has("array") || (types.has("string") && types.size > 1);
  if (mayBeJson && /^["{[]/.test(text)) {
    const parsed = parseJson(text);
    const isQuoted = typeof parsed === "string" && types.has("string") && types.size > 1;
    if (isQuoted || (typeof parsed === "object" && parsed !== null)) return parsed;
  }
  return text;
}

/** The JSON value of a repeated key: an array when the schema has one, else the last text. */
export function fromTexts(
  texts: readonly string[],
  schema: JsonSchema,
  root: JsonSchema = schema,
): unknown {
  const branches = alternatives(schema, root);
  const list = branches.find((branch) => typesOf(branch).includes("array"));
  const [only = ""] = texts;
  if (list === undefined) return fromText(texts.at(-1) ?? "", schema, root);
  // A single value may be the whole array as JSON, or a scalar that the union also accepts.
  if (texts.length === 1) {
    if (only.startsWith("[")) {
      const parsed = parseJson(only);
      if (Array.isArray(parsed)) return parsed;
    }
    const others = branches.filter((branch) => branch !== list);
    if (others.length > 0) return fromText(only, { anyOf: others }, root);
  }
  return texts.map((text, index) => {
    const item = list.prefixItems?.[index] ?? list.items;
    return typeof item === "object" ? fromText(text, item, root) : text;
  });
}

/** The texts of one query key. Arrays repeat the key; an empty one is written `[]`. */
export function toTexts(value: unknown, schema: JsonSchema, root: JsonSchema = schema): string[] {
  if (!Array.isArray(value)) return [toText(value, schema, root)];
  const list = alternatives(schema, root).find((branch) => typesOf(branch).includes("array"));
  const items = value.map((item, index) => {
    const part = list?.prefixItems?.[index] ?? list?.items;
    return toText(item, typeof part === "object" ? part : {}, root);
  });
  const back = items.length === 0 ? undefined : fromTexts(items, schema, root);
  return JSON.stringify(back) === JSON.stringify(value) ? items : [JSON.stringify(value)];
}

function typesOf(schema: JsonSchema): string[] {
  if (schema.type !== undefined) return [schema.type].flat();
  const constants = schema.enum ?? (schema.const === undefined ? undefined : [schema.const]);
  if (constants !== undefined) return constants.map((one) => (one === null ? "null" : typeof one));
  if (schema.properties !== undefined) return ["object"];
  return schema.allOf === undefined ? ["any"] : [];
}

function isNumberText(text: string): boolean {
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text) && Number.isFinite(Number(text));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Shows what a text was, for messages about malformed bodies. */
export function excerpt(text: string): string {
  return show(text);
}
