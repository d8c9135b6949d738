/**
 * The JSON Schema subset that types become, and the one validator for it. Everything that checks an
 * input uses it: the client before it sends, the server before it accepts a job, the worker before it
 * calls. No code generation, so nothing is paid at a cold start but the closures of one schema.
 */

import type { Issue } from "./errors.ts";

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

/** Deeper JSON than this is refused rather than risking the stack. */
const MAX_DEPTH = 256;

/** Checks a JSON value and returns it with rich values revived; problems go to `issues`. */
export type Validator = (value: unknown, path: string, issues: Issue[]) => unknown;

type Check = (value: unknown, path: string, run: Run) => unknown;
interface Run {
  issues: Issue[];
  depth: number;
}

/** Compiles a self-contained schema. Compiling is cheap; keep the result all the same. */
export function compileSchema(schema: JsonSchema): Validator {
  const check = new Compiler(schema).compile(schema);
  return (value, path, issues) => check(value, path, { issues, depth: 0 });
}

/** Follows `$ref` to the schema it names. */
export function resolveRef(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let current = schema;
  for (let hops = 0; current.$ref !== undefined && hops < 32; hops++) {
    const name = /^#\/\$defs\/(.+)$/.exec(current.$ref)?.[1];
    const next = name === undefined ? undefined : root.$defs?.[unescapePointer(name)];
    if (next === undefined) return {};
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

/** True when every value of the schema is a JSON object that is not a rich value. */
export function isObjectSchema(schema: JsonSchema, root: JsonSchema): boolean {
  const branches = alternatives(schema, root);
  return (
    branches.length > 0 &&
    branches.every((branch) => {
      if (branch["x-flash-type"] !== undefined) return false;
      if (branch.allOf !== undefined)
        return branch.allOf.every((part) => isObjectSchema(part, root));
      return (
        branch.type === "object" || (branch.type === undefined && branch.properties !== undefined)
      );
    })
  );
}

class Compiler {
  readonly #root: JsonSchema;
  readonly #references = new Map<string, Check>();

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  compile(schema: JsonSchema): Check {
    if (schema.$ref !== undefined) return this.#reference(schema.$ref);
    const checks: Check[] = [];
    if (schema.const !== undefined || schema.enum !== undefined) checks.push(checkEnum(schema));
    if (schema.type !== undefined) checks.push(checkType(schema));
    checks.push(...checkString(schema), ...checkNumber(schema));
    if (hasObjectRules(schema)) checks.push(this.#object(schema));
    if (hasArrayRules(schema)) checks.push(this.#array(schema));
    if (schema.allOf !== undefined) checks.push(...schema.allOf.map((part) => this.compile(part)));
    const union = schema.anyOf ?? schema.oneOf;
    if (union !== undefined) checks.push(this.#union(union));
    const rich = schema["x-flash-type"];
    if (rich !== undefined) checks.push(revive(rich));
    return sequence(checks);
  }

  /** Recursive types refer to themselves, so a reference resolves when it is first used. */
  #reference(ref: string): Check {
    const known = this.#references.get(ref);
    if (known !== undefined) return known;
    let target: Check | undefined;
    const lazy: Check = (value, path, run) => {
      target ??= this.compile(resolveRef({ $ref: ref }, this.#root));
      return target(value, path, run);
    };
    this.#references.set(ref, lazy);
    return lazy;
  }

  #object(schema: JsonSchema): Check {
    const properties = new Map(
      Object.entries(schema.properties ?? {}).map(([key, part]) => [key, this.compile(part)]),
    );
    const patterns = Object.entries(schema.patternProperties ?? {}).map(
      ([pattern, part]) => [new RegExp(pattern, "u"), this.compile(part)] as const,
    );
    const required = schema.required ?? [];
    const { additionalProperties, minProperties, maxProperties } = schema;
    const others =
      typeof additionalProperties === "object" ? this.compile(additionalProperties) : undefined;
    const names =
      schema.propertyNames === undefined ? undefined : this.compile(schema.propertyNames);
    return nested((value, path, run) => {
      if (!isPlainJsonObject(value)) return value;
      for (const key of required) {
        if (!Object.hasOwn(value, key)) {
          run.issues.push({ path: joinPath(path, key), message: "is required" });
        }
      }
      const keys = Object.keys(value);
      if (minProperties !== undefined && keys.length < minProperties) {
        run.issues.push({ path, message: `must have at least ${minProperties} properties` });
      }
      if (maxProperties !== undefined && keys.length > maxProperties) {
        run.issues.push({ path, message: `must have at most ${maxProperties} properties` });
      }
      let result = value;
      for (const key of keys) {
        const at = joinPath(path, key);
        const checks = [
          properties.get(key),
          ...patterns.filter(([pattern]) => pattern.test(key)).map(([, check]) => check),
        ].filter((check) => check !== undefined);
        if (names !== undefined) names(key, at, run);
        if (checks.length === 0) {
          if (additionalProperties === false) {
            run.issues.push({ path: at, message: unknownKey([...properties.keys()]) });
          }
          if (others !== undefined) checks.push(others);
        }
        const before = value[key];
        const after = sequence(checks)(before, at, run);
        if (after !== before)
          result = withKey(result === value ? { ...value } : result, key, after);
      }
      return result;
    });
  }

  #array(schema: JsonSchema): Check {
    const prefix = (schema.prefixItems ?? []).map((part) => this.compile(part));
    const items = typeof schema.items === "object" ? this.compile(schema.items) : undefined;
    const { minItems, maxItems, uniqueItems } = schema;
    const isClosed = schema.items === false;
    return nested((value, path, run) => {
      if (!Array.isArray(value)) return value;
      if (minItems !== undefined && value.length < minItems) {
        run.issues.push({
          path,
          message: `must have at least ${count(minItems, "item")}, got ${value.length}`,
        });
      }
      const most = isClosed ? Math.min(maxItems ?? prefix.length, prefix.length) : maxItems;
      if (most !== undefined && value.length > most) {
        run.issues.push({
          path,
          message: `must have at most ${count(most, "item")}, got ${value.length}`,
        });
      }
      if (uniqueItems === true) checkUnique(value, path, run);
      let result: unknown[] = value;
      for (const [index, before] of value.entries()) {
        const check = prefix[index] ?? (index < prefix.length ? undefined : items);
        if (check === undefined) continue;
        const after = check(before, `${path}[${index}]`, run);
        if (after === before) continue;
        if (result === value) result = [...value];
        result[index] = after;
      }
      return result;
    });
  }

  #union(branches: readonly JsonSchema[]): Check {
    const compiled = branches.map((schema) => ({ schema, check: this.compile(schema) }));
    const tag = this.#discriminator(branches);
    return (value, path, run) => {
      const failures: { schema: JsonSchema; issues: Issue[] }[] = [];
      for (const { schema, check } of compiled) {
        const issues: Issue[] = [];
        const decoded = check(value, path, { issues, depth: run.depth });
        if (issues.length === 0) return decoded;
        failures.push({ schema, issues });
      }
      run.issues.push(...this.#explain(value, path, failures, tag));
      return value;
    };
  }

  /** The property whose constant tells the branches of a union apart. */
  #discriminator(branches: readonly JsonSchema[]): string | undefined {
    const resolved = branches.map((branch) => resolveRef(branch, this.#root));
    const [first] = resolved;
    return Object.keys(first?.properties ?? {}).find((key) => {
      const values = resolved.map((branch) => {
        const property = branch.properties?.[key];
        return property === undefined ? undefined : resolveRef(property, this.#root).const;
      });
      return values.every((value) => value !== undefined) && new Set(values).size === values.length;
    });
  }

  /** The most useful complaint: of the branch that was meant, else what was expected at all. */
  #explain(
    value: unknown,
    path: string,
    failures: { schema: JsonSchema; issues: Issue[] }[],
    tag: string | undefined,
  ): Issue[] {
    if (tag !== undefined && isPlainJsonObject(value)) {
      const meant = failures.find(
        ({ schema }) => resolveRef(schema, this.#root).properties?.[tag]?.const === value[tag],
      );
      if (meant !== undefined) return meant.issues;
      const tags = failures.map(
        ({ schema }) => resolveRef(schema, this.#root).properties?.[tag]?.const,
      );
      const at = joinPath(path, tag);
      if (!Object.hasOwn(value, tag)) return [{ path: at, message: "is required" }];
      return [{ path: at, message: `must be ${listOr(tags.map(show))}, got ${show(value[tag])}` }];
    }
    const deeper = failures.filter(({ issues }) => issues.every((issue) => issue.path !== path));
    if (deeper.length === 1 && deeper[0] !== undefined) return deeper[0].issues;
    const wanted = failures.flatMap(({ schema }) => expectations(schema, this.#root));
    // One branch of the right type failed on a rule such as minLength: say that rule.
    const sameType = failures.filter(({ issues }) =>
      issues.every((issue) => !issue.message.includes(", got ") || issue.path !== path),
    );
    if (sameType.length === 1 && sameType[0] !== undefined) return sameType[0].issues;
    return [{ path, message: `must be ${listOr([...new Set(wanted)])}, got ${show(value)}` }];
  }
}

function sequence(checks: readonly Check[]): Check {
  const [only] = checks;
  if (checks.length === 1 && only !== undefined) return only;
  return (value, path, run) => {
    let current = value;
    const before = run.issues.length;
    for (const check of checks) {
      current = check(current, path, run);
      // A value of the wrong type is one complaint, not five.
      if (run.issues.length > before) return value;
    }
    return current;
  };
}

function nested(check: Check): Check {
  return (value, path, run) => {
    if (run.depth >= MAX_DEPTH) {
      run.issues.push({ path, message: `is nested deeper than ${MAX_DEPTH} levels` });
      return value;
    }
    run.depth++;
    const result = check(value, path, run);
    run.depth--;
    return result;
  };
}

function hasObjectRules(schema: JsonSchema): boolean {
  return (
    schema.properties !== undefined ||
    schema.required !== undefined ||
    schema.additionalProperties !== undefined ||
    schema.patternProperties !== undefined ||
    schema.propertyNames !== undefined ||
    schema.minProperties !== undefined ||
    schema.maxProperties !== undefined
  );
}

function hasArrayRules(schema: JsonSchema): boolean {
  return (
    schema.items !== undefined ||
    schema.prefixItems !== undefined ||
    schema.minItems !== undefined ||
    schema.maxItems !== undefined ||
    schema.uniqueItems !== undefined
  );
}

function checkType(schema: JsonSchema): Check {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const wanted = listOr(expectations(schema, schema));
  return (value, path, run) => {
    if (!types.some((type) => type !== undefined && hasType(value, type))) {
      run.issues.push({ path, message: `must be ${wanted}, got ${show(value)}` });
    }
    return value;
  };
}

function hasType(value: unknown, type: SchemaType): boolean {
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

function checkEnum(schema: JsonSchema): Check {
  const allowed = schema.enum ?? [schema.const];
  const wanted = listOr(allowed.map(show));
  return (value, path, run) => {
    if (!allowed.some((one) => equalJson(one, value))) {
      run.issues.push({ path, message: `must be ${wanted}, got ${show(value)}` });
    }
    return value;
  };
}

function checkString(schema: JsonSchema): Check[] {
  const { minLength, maxLength, pattern, format } = schema;
  const rules: ((text: string) => string | undefined)[] = [];
  if (minLength !== undefined) {
    rules.push((text) =>
      lengthOf(text) < minLength
        ? `must have at least ${count(minLength, "character")}`
        : undefined,
    );
  }
  if (maxLength !== undefined) {
    rules.push((text) =>
      lengthOf(text) > maxLength ? `must have at most ${count(maxLength, "character")}` : undefined,
    );
  }
  if (pattern !== undefined) {
    const expression = new RegExp(pattern, "u");
    rules.push((text) => (expression.test(text) ? undefined : `must match ${pattern}`));
  }
  const test = format === undefined ? undefined : FORMATS[format];
  if (test !== undefined) {
    rules.push((text) =>
      test(text) ? undefined : `must be ${formatName(format ?? "")}, got ${show(text)}`,
    );
  }
  return rules.map((rule) => (value, path, run) => {
    const message = typeof value === "string" ? rule(value) : undefined;
    if (message !== undefined) run.issues.push({ path, message });
    return value;
  });
}

function checkNumber(schema: JsonSchema): Check[] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const rules: ((value: number) => string | undefined)[] = [];
  if (minimum !== undefined) {
    rules.push((value) =>
      value < minimum ? `must be at least ${minimum}, got ${value}` : undefined,
    );
  }
  if (maximum !== undefined) {
    rules.push((value) =>
      value > maximum ? `must be at most ${maximum}, got ${value}` : undefined,
    );
  }
  if (exclusiveMinimum !== undefined) {
    rules.push((value) =>
      value <= exclusiveMinimum ? `must be more than ${exclusiveMinimum}, got ${value}` : undefined,
    );
  }
  if (exclusiveMaximum !== undefined) {
    rules.push((value) =>
      value >= exclusiveMaximum ? `must be less than ${exclusiveMaximum}, got ${value}` : undefined,
    );
  }
  if (multipleOf !== undefined) {
    rules.push((value) =>
      isMultiple(value, multipleOf)
        ? undefined
        : `must be a multiple of ${multipleOf}, got ${value}`,
    );
  }
  return rules.map((rule) => (value, path, run) => {
    const message = typeof value === "number" ? rule(value) : undefined;
    if (message !== undefined) run.issues.push({ path, message });
    return value;
  });
}

function checkUnique(value: readonly unknown[], path: string, run: Run): void {
  const seen = new Map<string, number>();
  for (const [index, item] of value.entries()) {
    const key = canonical(item);
    const first = seen.get(key);
    if (first === undefined) seen.set(key, index);
    else {
      run.issues.push({ path: `${path}[${index}]`, message: `must differ from item ${first}` });
      return;
    }
  }
}

function revive(rich: RichType): Check {
  return (value, path, run) => {
    switch (rich) {
      case "date": {
        const date = new Date(value as string);
        if (!Number.isNaN(date.getTime())) return date;
        run.issues.push({ path, message: `must be an ISO 8601 date and time, got ${show(value)}` });
        return value;
      }
      case "bigint":
        if (/^-?\d+$/.test(String(value))) return BigInt(value as string);
        run.issues.push({ path, message: `must be a whole number as text, got ${show(value)}` });
        return value;
      case "set":
        return new Set(value as unknown[]);
      case "bytes":
        return fromBase64(value as string, path, run);
    }
  };
}

function fromBase64(text: string, path: string, run: Run): unknown {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    run.issues.push({ path, message: "must be base64 text" });
    return text;
  }
}

/** What a schema accepts, in words: `a number`, `"a"`, `an array`. */
export function expectations(schema: JsonSchema, root: JsonSchema): string[] {
  return alternatives(schema, root).flatMap((branch) => {
    if (branch.enum !== undefined) return branch.enum.map(show);
    if (branch.const !== undefined) return [show(branch.const)];
    if (branch["x-flash-type"] === "date") return ["an ISO 8601 date and time"];
    if (branch["x-flash-type"] === "bigint") return ["a whole number as text"];
    const types = branch.type === undefined ? [] : [branch.type].flat();
    return types.map((type) => TYPE_NAMES[type]);
  });
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

const FORMATS: Record<string, (text: string) => boolean> = {
  email: (text) => /^[^\s@]+@[^\s@.]+(\.[^\s@.]+)+$/.test(text),
  uuid: (text) => /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text),
  uri: (text) => /^[a-z][a-z0-9+.-]*:[^\s]*$/i.test(text),
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(`${text}T00:00:00Z`)),
  "date-time": (text) =>
    /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$/i.test(text) &&
    !Number.isNaN(Date.parse(text.replace(" ", "T"))),
  time: (text) => /^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?$/i.test(text),
  ipv4: (text) => /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}$/.test(text) && !text.endsWith("."),
  ipv6: (text) => /^[0-9a-f:.]+$/i.test(text) && text.includes(":"),
  hostname: (text) =>
    text.length <= 253 && /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.|$))+$/i.test(text),
};

function formatName(format: string): string {
  const names: Record<string, string> = {
    email: "an e-mail address",
    uuid: "a UUID",
    uri: "a URI",
    date: "a date such as 2026-01-31",
    "date-time": "an ISO 8601 date and time",
    time: "a time such as 13:45:00",
    ipv4: "an IPv4 address",
    ipv6: "an IPv6 address",
    hostname: "a host name",
  };
  return names[format] ?? format;
}

/** The message for a key that nothing declares. */
export function unknownKey(known: readonly string[]): string {
  return known.length === 0
    ? "is not expected here: there are no parameters"
    : `is not expected; known: ${known.join(", ")}`;
}

/** Shows a JSON value in a message, cut to a readable length. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = typeof value === "bigint" ? `${value}n` : (JSON.stringify(value) ?? typeof value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** `a`, `a or b`, `a, b or c`. */
export function listOr(words: readonly string[]): string {
  if (words.length <= 1) return words[0] ?? "nothing";
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** `user` + `name` → `user.name`; keys that are no identifiers are quoted. */
export function joinPath(path: string, key: string): string {
  if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}

export function isPlainJsonObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Assigning `__proto__` would change the prototype instead of adding a key. */
export function withKey<T extends object>(object: T, key: string, value: unknown): T {
  Object.defineProperty(object, key, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
  return object;
}

function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return typeof a === "object" && typeof b === "object" && canonical(a) === canonical(b);
}

/** JSON text that does not depend on the order of keys. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical((value as Record<string, unknown>)[key])}`).join(",")}}`;
}

/** JSON Schema counts code points, not UTF-16 units. */
function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) length++;
  return length;
}

function isMultiple(value: number, of: number): boolean {
  const quotient = value / of;
  return Math.abs(quotient - Math.round(quotient)) < 1e-9 * Math.max(1, Math.abs(quotient));
}

function count(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

function unescapePointer(name: string): string {
  return decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~");
}
