/**
 * How values travel: JavaScript values to JSON, and JSON values to and from the text of paths,
 * query strings and form fields. `encode` then `decode` gives the value back, or `encode` refuses.
 */

import type { Issue } from "./errors.ts";
import {
  MAX_DEPTH,
  canonical,
  isPlainJsonObject,
  joinPath,
  ownValue,
  show,
  withKey,
} from "./json.ts";
import {
  alternatives,
  alternativesWithParts,
  constantsOf,
  hasType,
  propertyParts,
  type JsonSchema,
  type RichType,
  type SchemaType,
} from "./schema.ts";
import { compileSchema, type Validator } from "./validator.ts";

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
  const spot = { schemas: alternativesWithParts(schema, schema), path };
  return encode(value, spot, { root: schema, takesDates: false, issues, ancestors: [] });
}

/**
 * As {@link encodeJson}, for what a function returned: a Date becomes ISO 8601 text wherever it stands.
 * Rows of a database hold them under types that say nothing or `string`, and for a reader of JSON the
 * text is what was meant. An argument is stricter: the function at the other end would get a string.
 */
export function encodeResult(value: unknown, schema: JsonSchema, issues: Issue[]): unknown {
  const spot = { schemas: alternativesWithParts(schema, schema), path: "result" };
  return encode(value, spot, { root: schema, takesDates: true, issues, ancestors: [] });
}

interface Encoding {
  root: JsonSchema;
  /** A Date needs no type that says so. */
  takesDates: boolean;
  issues: Issue[];
  /** The objects around the current value, outermost first. */
  ancestors: object[];
}

/** Where a value is, and what is known about its type there. */
interface Spot {
  schemas: readonly JsonSchema[];
  path: string;
}

function encode(value: unknown, spot: Spot, run: Encoding): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (Number.isFinite(value)) return value;
      return refuse(
        run,
        spot,
        `is ${value}, which JSON cannot carry; send null or a string instead`,
      );
    case "bigint":
      if (allows(spot, "bigint")) return value.toString();
      return refuse(
        run,
        spot,
        "is a bigint, which JSON cannot carry; declare the type as bigint or send a string",
      );
    case "undefined":
      return refuse(run, spot, "is undefined, which JSON cannot carry; send null instead");
    case "function":
    case "symbol":
      return refuse(run, spot, `is a ${typeof value}, which JSON cannot carry`);
    case "object":
      return value === null ? null : encodeObject(value, spot, run);
  }
}

function encodeObject(value: object, spot: Spot, run: Encoding): unknown {
  if (run.ancestors.includes(value)) {
    return refuse(run, spot, "refers back to a value that holds it, which JSON cannot carry");
  }
  if (run.ancestors.length >= MAX_DEPTH) {
    return refuse(run, spot, `is nested deeper than ${MAX_DEPTH} levels`);
  }
  run.ancestors.push(value);
  const result = encodeContent(value, spot, run);
  run.ancestors.pop();
  return result;
}

function encodeContent(value: object, spot: Spot, run: Encoding): unknown {
  if (value instanceof Date) return encodeDate(value, spot, run);
  if (Array.isArray(value)) return encodeItems(value, spot, run);
  if (value instanceof Set) {
    if (allows(spot, "set")) return encodeItems([...value], spot, run);
    return refuse(
      run,
      spot,
      "is a Set, which JSON cannot carry; declare the type as Set or send an array",
    );
  }
  if (value instanceof Uint8Array && allows(spot, "bytes")) return toBase64(value);
  if (!isPlainData(value)) return encodeInstance(value, spot, run);
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const schemas = property(spot.schemas, key, run.root);
    withKey(result, key, encode(item, { schemas, path: joinPath(spot.path, key) }, run));
  }
  return result;
}

/** A plain object that does not write its own JSON. */
function isPlainData(value: unknown): value is Record<string, unknown> {
  return isPlainJsonObject(value) && typeof value["toJSON"] !== "function";
}

function encodeDate(value: Date, spot: Spot, run: Encoding): unknown {
  if (Number.isNaN(value.getTime())) return refuse(run, spot, "is an invalid Date");
  if (run.takesDates || allows(spot, "date")) return value.toISOString();
  return refuse(
    run,
    spot,
    "is a Date, which JSON cannot carry; declare the type as Date or send toISOString()",
  );
}

function encodeItems(items: readonly unknown[], spot: Spot, run: Encoding): unknown[] {
  // Array.from visits holes, which forEach and map skip.
  return Array.from(items, (item, index) => {
    const schemas = element(spot.schemas, index, run.root);
    return encode(item, { schemas, path: `${spot.path}[${index}]` }, run);
  });
}

function encodeInstance(value: object, spot: Spot, run: Encoding): unknown {
  const { toJSON } = value as { toJSON?: unknown };
  // A Buffer's toJSON spells its bytes out as numbers: never what was meant.
  if (typeof toJSON === "function" && !ArrayBuffer.isView(value)) {
    return encode((toJSON as () => unknown).call(value), spot, run);
  }
  const name = value.constructor?.name ?? "object";
  return refuse(run, spot, `is a ${name}, which JSON cannot carry; ${adviceFor(value)}`);
}

function adviceFor(value: object): string {
  if (value instanceof Map) return "send a plain object instead";
  if (value instanceof Uint8Array) return "declare the type as Uint8Array";
  return "send a plain object, or call the endpoint over HTTP yourself";
}

function refuse(run: Encoding, { path }: Spot, message: string): null {
  run.issues.push({ path, message });
  return null;
}

function allows({ schemas }: Spot, rich: RichType): boolean {
  return schemas.some((schema) => schema["x-flash-type"] === rich);
}

/** What is known about a property: the union over the alternatives that are objects. */
function property(schemas: readonly JsonSchema[], key: string, root: JsonSchema): JsonSchema[] {
  return schemas
    .flatMap((schema) => propertyParts(schema, key))
    .flatMap((part) => alternativesWithParts(part, root));
}

function element(schemas: readonly JsonSchema[], index: number, root: JsonSchema): JsonSchema[] {
  return schemas.flatMap((schema) => {
    const part = schema.prefixItems?.[index] ?? schema.items;
    return typeof part === "object" ? alternativesWithParts(part, root) : [];
  });
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/**
 * True when decoding has brought back the kinds of values that were sent. It has not where a type
 * leaves it open what the JSON means: under `Date | string`, text that reads as a date.
 */
export function isSameKind(sent: unknown, received: unknown): boolean {
  const kind = kindOf(sent);
  // It wrote its own JSON: what arrives is another kind by its own wish.
  if (kind === "instance") return true;
  if (kind !== kindOf(received)) return false;
  if (kind === "set")
    return isSameKind([...(sent as Set<unknown>)], [...(received as Set<unknown>)]);
  if (kind !== "array" && kind !== "object") return true;
  const [before, after] = [sent, received] as [Record<string, unknown>, Record<string, unknown>];
  return Object.keys(before).every(
    (key) => before[key] === undefined || isSameKind(before[key], ownValue(after, key)),
  );
}

function kindOf(value: unknown): string {
  if (typeof value !== "object") return typeof value;
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (isPlainData(value)) return "object";
  if (value instanceof Date) return "date";
  if (value instanceof Set) return "set";
  return value instanceof Uint8Array ? "bytes" : "instance";
}

/**
 * A JSON value as text for a path segment, query value or form field. Strings go as they are, unless
 * the same text could mean something else that the schema accepts: then they are quoted.
 */
export function toText(value: unknown, schema: JsonSchema, root: JsonSchema = schema): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return fromText(value, schema, root) === value ? value : JSON.stringify(value);
}

/**
 * The JSON value that a text means under a schema: what it says as JSON if the schema accepts that,
 * else the text itself if it accepts that. When neither fits, the one that makes the better complaint.
 * A schema that does not name a type leaves text as it is: nobody said that `5` is a number.
 */
export function fromText(text: string, schema: JsonSchema, root: JsonSchema = schema): unknown {
  const types = typesOf(schema, root);
  if (types.has("any") || (types.size === 1 && types.has("string"))) return text;
  const parsed = parseText(text, types);
  if (parsed === undefined) return text;
  if (fits(parsed, schema, root)) return parsed;
  if (fits(text, schema, root)) return text;
  return [...types].some((type) => type !== "any" && hasType(parsed, type)) ? parsed : text;
}

/** The JSON value of a repeated key: an array when the schema has one, else the last text. */
export function fromTexts(
  texts: readonly string[],
  schema: JsonSchema,
  root: JsonSchema = schema,
): unknown {
  const list = alternatives(schema, root).find((branch) => isListBranch(branch));
  const [only = ""] = texts;
  if (texts.length > 1)
    return list === undefined
      ? fromText(texts.at(-1) ?? "", schema, root)
      : itemsOf(texts, list, root);
  // One text may be the whole array as JSON, a scalar that the union also accepts, or one item.
  const whole = only.startsWith("[") ? parseJson(only) : undefined;
  if (Array.isArray(whole) && fits(whole, schema, root)) return whole;
  const scalar = fromText(only, schema, root);
  if (list === undefined || fits(scalar, schema, root)) return scalar;
  return Array.isArray(whole) ? whole : itemsOf(texts, list, root);
}

/** The texts of one query key. Arrays repeat the key, where that can be read back. */
export function toTexts(value: unknown, schema: JsonSchema, root: JsonSchema = schema): string[] {
  const list = alternatives(schema, root).find((branch) => isListBranch(branch));
  const texts =
    Array.isArray(value) && list !== undefined
      ? value.map((item, index) => toText(item, itemSchema(list, index), root))
      : [toText(value, schema, root)];
  const isReadable =
    texts.length > 0 && canonical(fromTexts(texts, schema, root)) === canonical(value);
  return isReadable ? texts : [JSON.stringify(value)];
}

function itemsOf(texts: readonly string[], list: JsonSchema, root: JsonSchema): unknown[] {
  return texts.map((text, index) => fromText(text, itemSchema(list, index), root));
}

function itemSchema(list: JsonSchema, index: number): JsonSchema {
  const item = list.prefixItems?.[index] ?? list.items;
  return typeof item === "object" ? item : {};
}

function isListBranch(branch: JsonSchema): boolean {
  if (branch.type !== undefined) return [branch.type].flat().includes("array");
  return branch.items !== undefined || branch.prefixItems !== undefined;
}

type TextType = SchemaType | "any";

/** The JSON types that a schema may accept. */
function typesOf(schema: JsonSchema, root: JsonSchema): Set<TextType> {
  return new Set(alternatives(schema, root).flatMap((branch) => branchTypes(branch, root)));
}

function branchTypes(branch: JsonSchema, root: JsonSchema): readonly TextType[] {
  if (branch.type !== undefined) return [branch.type].flat();
  const constants = constantsOf(branch);
  if (constants !== undefined) {
    return TYPES.filter((type) => constants.some((one) => hasType(one, type)));
  }
  if (branch.properties !== undefined) return ["object"];
  if (isListBranch(branch)) return ["array"];
  const parts = (branch.allOf ?? []).map((part) => typesOf(part, root));
  return [...(parts.find((types) => !types.has("any")) ?? ["any" as const])];
}

const TYPES: readonly SchemaType[] = [
  "string",
  "number",
  "integer",
  "boolean",
  "null",
  "object",
  "array",
];

/**
 * What a text says as JSON; undefined when it says nothing. Where a string is possible too, only the
 * exact way we write a scalar counts: `007`, `1.0` and numbers with more digits than a double holds
 * stay text.
 */
function parseText(text: string, types: ReadonlySet<TextType>): unknown {
  if (!/^["{[\d\-tfn]/.test(text) || text !== text.trimEnd()) return undefined;
  const value = parseJson(text);
  if (value === undefined || (typeof value === "object" && value !== null)) return value;
  if (typeof value === "number" && !Number.isFinite(value)) return undefined;
  return types.has("string") && JSON.stringify(value) !== text ? undefined : value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const validators = new WeakMap<JsonSchema, WeakMap<JsonSchema, Validator>>();

function fits(value: unknown, schema: JsonSchema, root: JsonSchema): boolean {
  let known = validators.get(root);
  if (known === undefined) validators.set(root, (known = new WeakMap()));
  let validator = known.get(schema);
  if (validator === undefined) {
    const whole =
      schema === root || root.$defs === undefined ? schema : { ...schema, $defs: root.$defs };
    known.set(schema, (validator = compileSchema(whole)));
  }
  const issues: Issue[] = [];
  validator(value, "", issues);
  return issues.length === 0;
}

/** Shows what a text was, for messages about malformed bodies. */
export function excerpt(text: string): string {
  return show(text);
}
