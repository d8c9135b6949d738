/**
 * The JSON Schema subset that types become: its shape, its references and unions, and what it
 * accepts in words. `validator.ts` checks values against it.
 */

import { canonical, equalJson, isPlainJsonObject, ownValue, show, withKey } from "./json.ts";

export type SchemaType = "string" | "number" | "integer" | "boolean" | "null" | "object" | "array";

/** Draft 2020-12, limited to what TypeScript types and constraint tags can say. */
export interface JsonSchema {
  type?: SchemaType | SchemaType[];
  const?: unknown;
  enum?: unknown[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  propertyNames?: JsonSchema;
  patternProperties?: Record<string, JsonSchema>;
  minProperties?: number;
  maxProperties?: number;
  items?: JsonSchema | false;
  prefixItems?: JsonSchema[];
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  /** `#/$defs/Name` of the same root. */
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  /** `base64`: bytes as text. Documentation; `x-flash-type` and `pattern` are what is checked. */
  contentEncoding?: string;
  title?: string;
  description?: string;
  default?: unknown;
  examples?: unknown[];
  deprecated?: boolean;
  /**
   * The JavaScript value behind the JSON one: `date` (ISO 8601 string), `set` (array), `bigint`
   * (decimal string), `bytes` (base64 string). Decoding revives it.
   */
  "x-flash-type"?: RichType;
}

export type RichType = "date" | "set" | "bigint" | "bytes";

/**
 * Bytes inside JSON. The pattern is as strict as one can be that a validator runs over megabytes
 * without running out of stack; whether the last group is whole is checked in code only.
 */
export const BASE64: Readonly<JsonSchema> = {
  type: "string",
  contentEncoding: "base64",
  pattern: "^[A-Za-z0-9+/]*={0,2}$",
  "x-flash-type": "bytes",
};

/** Follows `$ref` to the schema it names; `{}` when there is none. */
export function resolveRef(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let current = schema;
  for (let hops = 0; current.$ref !== undefined; hops++) {
    const next = ownValue(root.$defs, definitionName(current.$ref) ?? "");
    // A chain as long as this leads nowhere but to itself.
    if (next === undefined || hops > 32) return {};
    current = next;
  }
  return current;
}

/** The schema's alternatives with references followed and unions flattened. */
export function alternatives(
  schema: JsonSchema,
  root: JsonSchema,
  seen = new Set<JsonSchema>(),
): JsonSchema[] {
  const resolved = resolveRef(schema, root);
  if (seen.has(resolved)) return [];
  seen.add(resolved);
  const branches = resolved.anyOf ?? resolved.oneOf;
  if (branches !== undefined) return branches.flatMap((branch) => alternatives(branch, root, seen));
  return [resolved];
}

/** The alternatives and the parts of those that are intersections. */
export function alternativesWithParts(schema: JsonSchema, root: JsonSchema): JsonSchema[] {
  const { anyOf, oneOf, allOf } = resolveRef(schema, root);
  // Nearly all schemas are neither union nor intersection, and this is asked with every call.
  if (anyOf === undefined && oneOf === undefined && allOf === undefined) {
    return [resolveRef(schema, root)];
  }
  return alternatives(schema, root).flatMap((branch) => {
    const parts = (branch.allOf ?? []).flatMap((part) => alternativesWithParts(part, root));
    parts.unshift(branch);
    return parts;
  });
}

/** True when every value of the schema is a JSON object that is not a rich value. */
export function isObjectSchema(schema: JsonSchema, root: JsonSchema): boolean {
  const branches = alternatives(schema, root);
  return branches.length > 0 && branches.every((branch) => isObjectBranch(branch, root));
}

function isObjectBranch(branch: JsonSchema, root: JsonSchema): boolean {
  if (branch["x-flash-type"] !== undefined) return false;
  if (branch.type !== undefined) return branch.type === "object";
  if (branch.allOf !== undefined) return branch.allOf.some((part) => isObjectSchema(part, root));
  return branch.properties !== undefined;
}

/**
 * True when an object type has a place for the key. Types written in TypeScript are open, so this is
 * asked only where an unknown key is a likely mistake: in the object that is a whole body.
 */
export function isKnownKey(key: string, schema: JsonSchema, root: JsonSchema): boolean {
  return alternativesWithParts(schema, root).some((branch) => {
    if (propertyParts(branch, key).length > 0) return true;
    const { additionalProperties, properties, patternProperties, allOf } = branch;
    if (additionalProperties !== undefined) return additionalProperties !== false;
    return [properties, patternProperties, allOf].every((one) => one === undefined);
  });
}

/** What one object schema says about a property. */
export function propertyParts(schema: JsonSchema, key: string): JsonSchema[] {
  const own = ownValue(schema.properties, key);
  const matching = Object.entries(schema.patternProperties ?? {})
    .filter(([pattern]) => regExpOf(pattern).test(key))
    .map(([, part]) => part);
  const parts = own === undefined ? matching : [own, ...matching];
  if (parts.length > 0 || typeof schema.additionalProperties !== "object") return parts;
  return [schema.additionalProperties];
}

/** The schema of an object that refuses the keys {@link isKnownKey} does not know, for other validators. */
export function closeObject(schema: JsonSchema): JsonSchema {
  const branches = alternativesWithParts(schema, schema);
  // A key that cannot be among the declared ones is known only where all keys are.
  if (isKnownKey("\0", schema, schema)) return schema;
  const names = propertyNames(schema, schema);
  const patterns = branches.flatMap(({ patternProperties = {} }) => Object.keys(patternProperties));
  const [only] = branches;
  if (only === schema && branches.length === 1) return { ...schema, additionalProperties: false };
  // `additionalProperties` sees the properties of its own schema only, not those of a union's parts.
  const known: JsonSchema[] = patterns.map((pattern) => ({ pattern }));
  if (names.length > 0) known.unshift({ enum: names });
  const [first] = known;
  if (first === undefined) return { ...schema, maxProperties: 0 };
  return { ...schema, propertyNames: known.length === 1 ? first : { anyOf: known } };
}

/** Names of the properties that an object type, or any of its alternatives, declares. */
export function propertyNames(schema: JsonSchema, root: JsonSchema): string[] {
  const branches = alternativesWithParts(schema, root);
  return [...new Set(branches.flatMap(({ properties }) => Object.keys(properties ?? {})))];
}

/** Patterns are written for `u`; some that people write, such as `\-`, only work without. */
export function regExpOf(pattern: string): RegExp {
  try {
    return new RegExp(pattern, "u");
  } catch {
    return new RegExp(pattern);
  }
}

/** The schemas that a schema holds directly, definitions left out. */
export function partsOf(schema: JsonSchema): JsonSchema[] {
  return [
    ...Object.values(schema.properties ?? {}),
    ...Object.values(schema.patternProperties ?? {}),
    ...[schema.items, schema.additionalProperties, schema.propertyNames].filter(
      (part) => typeof part === "object",
    ),
    ...(schema.prefixItems ?? []),
    ...(schema.anyOf ?? []),
    ...(schema.oneOf ?? []),
    ...(schema.allOf ?? []),
  ];
}

/** True when decoding changes some value of the schema: there is a Date, a Set … in it. */
export function holdsRich(
  schema: JsonSchema,
  root: JsonSchema,
  seen = new Set<JsonSchema>(),
): boolean {
  if (seen.has(schema)) return false;
  seen.add(schema);
  if (schema["x-flash-type"] !== undefined) return true;
  if (schema.$ref !== undefined && holdsRich(resolveRef(schema, root), root, seen)) return true;
  return partsOf(schema).some((part) => holdsRich(part, root, seen));
}

/**
 * Collects the definitions of many self-contained schemas under one roof, for documents that hold
 * several. The same definition is kept once; another one of the same name gets a number.
 */
export class Definitions {
  readonly #prefix: string;
  readonly #schemas = new Map<string, JsonSchema>();
  /** Text of each definition with all it refers to: two are the same when this is. */
  readonly #closures = new Map<string, string>();

  /** `prefix` is what references start with: `#/$defs/`, `#/components/schemas/`. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** The schema without its `$defs`; its references point at the collected ones. */
  add(schema: JsonSchema): JsonSchema {
    const root = schema;
    const names = new Map<string, string>();
    const used = reachable(schema, root);
    for (const name of used) names.set(name, this.#nameFor(name, root));
    const rename = (part: JsonSchema): JsonSchema => this.#rewrite(part, names);
    for (const name of used) {
      const target = names.get(name) ?? name;
      if (!this.#schemas.has(target)) this.#schemas.set(target, rename(root.$defs?.[name] ?? {}));
    }
    return rename(schema);
  }

  /** Takes a name for a schema of the document's own. */
  set(name: string, schema: JsonSchema): void {
    this.#schemas.set(name, schema);
    this.#closures.set(name, canonical(schema));
  }

  /** Everything collected, sorted by name. */
  all(): Record<string, JsonSchema> {
    const names = [...this.#schemas.keys()].sort();
    return Object.fromEntries(names.map((name) => [name, this.#schemas.get(name) ?? {}]));
  }

  #nameFor(name: string, root: JsonSchema): string {
    const inside = [...reachable({ $ref: reference("#/$defs/", name) }, root)].sort();
    const closure = canonical(inside.map((one) => [one, root.$defs?.[one]]));
    // What component names may hold in OpenAPI.
    const plain = name.replaceAll(/[^A-Za-z0-9._-]+/g, "_");
    for (let number = 1; ; number++) {
      const candidate = number === 1 ? plain : `${plain}${number}`;
      const taken = this.#closures.get(candidate);
      if (taken === closure) return candidate;
      if (taken !== undefined) continue;
      this.#closures.set(candidate, closure);
      return candidate;
    }
  }

  #rewrite(schema: JsonSchema, names: ReadonlyMap<string, string>): JsonSchema {
    const { $defs: _, ...rest } = mapParts(schema, (part) => this.#rewrite(part, names));
    if (rest.$ref === undefined) return rest;
    const name = names.get(definitionName(rest.$ref) ?? "");
    if (name !== undefined) return { ...rest, $ref: reference(this.#prefix, name) };
    // A reference to nothing means anything, and must not dangle in the document.
    const { $ref: __, ...open } = rest;
    return open;
  }
}

function mapParts(schema: JsonSchema, map: (part: JsonSchema) => JsonSchema): JsonSchema {
  const result: JsonSchema = { ...schema };
  for (const key of ["properties", "patternProperties"] as const) {
    const parts = schema[key];
    if (parts === undefined) continue;
    result[key] = {};
    for (const [name, part] of Object.entries(parts)) withKey(result[key], name, map(part));
  }
  for (const key of ["items", "additionalProperties", "propertyNames"] as const) {
    const part = schema[key];
    if (typeof part === "object") result[key] = map(part);
  }
  for (const key of ["prefixItems", "anyOf", "oneOf", "allOf"] as const) {
    const parts = schema[key];
    if (parts !== undefined) result[key] = parts.map(map);
  }
  return result;
}

/** Names of the definitions that a schema leads to, in the order they are met. */
function reachable(schema: JsonSchema, root: JsonSchema): Set<string> {
  const names = new Set<string>();
  const waiting = [schema];
  for (const one of waiting) {
    waiting.push(...partsOf(one));
    const name = one.$ref === undefined ? undefined : definitionName(one.$ref);
    const target = name === undefined ? undefined : ownValue(root.$defs, name);
    if (name === undefined || target === undefined || names.has(name)) continue;
    names.add(name);
    waiting.push(target);
  }
  return names;
}

function reference(prefix: string, name: string): string {
  return `${prefix}${encodeURIComponent(name.replaceAll("~", "~0").replaceAll("/", "~1"))}`;
}

function definitionName(ref: string): string | undefined {
  const pointer = /^#\/\$defs\/(.+)$/.exec(ref)?.[1];
  if (pointer === undefined) return undefined;
  try {
    return decodeURIComponent(pointer).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return pointer;
  }
}

const TYPE_NAMES: Record<SchemaType, string> = {
  string: "a string",
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  null: "null",
  object: "an object",
  array: "an array",
};

const RICH_NAMES: Partial<Record<RichType, string>> = {
  date: "an ISO 8601 date and time",
  bigint: "a whole number as text",
  bytes: "base64 text",
};

/** What a schema accepts, in words: `a number`, `"a"`, `an array`. Empty when that is anything. */
export function expectations(schema: JsonSchema, root: JsonSchema): string[] {
  return [...new Set(alternatives(schema, root).flatMap((branch) => wordsFor(branch, root)))];
}

function wordsFor(branch: JsonSchema, root: JsonSchema): string[] {
  const constants = constantsOf(branch);
  if (constants !== undefined) return constants.map(show);
  const rich = branch["x-flash-type"];
  const name = rich === undefined ? undefined : RICH_NAMES[rich];
  if (name !== undefined) return [name];
  if (branch.type !== undefined) return [branch.type].flat().map((type) => TYPE_NAMES[type]);
  if (branch.properties !== undefined) return [TYPE_NAMES.object];
  const [first] = (branch.allOf ?? []).map((part) => expectations(part, root));
  return first ?? [];
}

/** The only values a schema accepts, when it lists them. */
export function constantsOf(schema: JsonSchema): unknown[] | undefined {
  return schema.enum ?? (schema.const === undefined ? undefined : [schema.const]);
}

export function hasType(value: unknown, type: SchemaType): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isPlainJsonObject(value);
    case "integer":
      return Number.isInteger(value);
    case "number":
      return typeof value === "number" && Number.isFinite(value);
    default:
      return typeof value === type;
  }
}

/** True when the value is of a kind the schema is about, whatever else is wrong with it. */
export function isOfKind(value: unknown, schema: JsonSchema, root: JsonSchema): boolean {
  return alternatives(schema, root).some((branch) => {
    const constants = constantsOf(branch);
    if (constants !== undefined) return constants.some((one) => equalJson(one, value));
    if (branch.type !== undefined) return [branch.type].flat().some((type) => hasType(value, type));
    if (branch.properties !== undefined) return isPlainJsonObject(value);
    return (branch.allOf ?? []).every((part) => isOfKind(value, part, root));
  });
}

/** The message for a key that nothing declares. */
export function unknownKey(known: readonly string[]): string {
  return `is not expected; ${known.length === 0 ? "nothing is" : `known: ${known.join(", ")}`}`;
}
