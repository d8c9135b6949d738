/**
 * The one validator of {@link JsonSchema}. Everything that checks an input uses it: the client before
 * it sends, the server before it accepts a job, the worker before it calls. No code generation, so
 * nothing is paid at a cold start but the closures of one schema.
 *
 * Every check sees the original value and answers with the revived one. Where several apply to the
 * same value (intersections, overlapping unions), their answers are merged.
 */

import type { Issue } from "./errors.ts";
import { formatOf, isDateText } from "./formats.ts";
import {
  MAX_DEPTH,
  canonical,
  equalJson,
  isPlainJsonObject,
  isTooDeep,
  joinPath,
  listOr,
  ownValue,
  show,
  withKey,
} from "./json.ts";
import {
  alternatives,
  constantsOf,
  expectations,
  hasType,
  holdsRich,
  isOfKind,
  regExpOf,
  resolveRef,
  unknownKey,
  type JsonSchema,
  type RichType,
} from "./schema.ts";

/** More issues than this help nobody, and a hostile body could hold millions. */
export const MAX_ISSUES = 100;

/** Checks a JSON value and returns it with rich values revived; problems go to `issues`. */
export type Validator = (value: unknown, path: string, issues: Issue[]) => unknown;

type Check = (value: unknown, path: string, run: Run) => unknown;

interface Run {
  issues: Issue[];
  /** How many problems were found, those beyond {@link MAX_ISSUES} included. */
  found: number;
  /**
   * Inside unions: what a reference said about a value. Branches that share a recursive type would
   * otherwise check the same values again and again, twice as often with every level.
   */
  memo: Map<Check, Map<object, Outcome>> | undefined;
}

interface Outcome {
  result: unknown;
  issues: Issue[];
}

/** Compiles a self-contained schema. Compiling is cheap; keep the result all the same. */
export function compileSchema(schema: JsonSchema): Validator {
  const check = new Compiler(schema).compile(schema);
  return (value, path, issues) => {
    if (isTooDeep(value)) {
      issues.push({ path, message: `is nested deeper than ${MAX_DEPTH} levels` });
      return value;
    }
    return check(value, path, { issues, found: 0, memo: undefined });
  };
}

class Compiler {
  readonly #root: JsonSchema;
  readonly #references = new Map<string, Check>();

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  compile(schema: JsonSchema): Check {
    const first = checkKind(schema, this.#root);
    const rules: Check[] = [];
    if (schema.$ref !== undefined) rules.push(this.#reference(schema.$ref));
    rules.push(...checkText(schema), ...checkNumber(schema));
    if (hasObjectRules(schema)) rules.push(this.#object(schema));
    if (hasArrayRules(schema)) rules.push(this.#array(schema));
    for (const part of schema.allOf ?? []) rules.push(this.compile(part));
    if (schema.anyOf !== undefined) rules.push(this.#union(schema.anyOf, "any"));
    if (schema.oneOf !== undefined) rules.push(this.#union(schema.oneOf, "one"));
    const rule = all(rules);
    const rich = schema["x-flash-type"];
    return (value, path, run) => {
      const before = run.found;
      // A value of the wrong type is one complaint, not five.
      if (first !== undefined && !first(value, path, run)) return value;
      const result = rule(value, path, run);
      return rich === undefined || run.found > before ? result : revive(result, rich);
    };
  }

  /** Recursive types refer to themselves, so a reference resolves when it is first used. */
  #reference(ref: string): Check {
    const known = this.#references.get(ref);
    if (known !== undefined) return known;
    let target: Check | undefined;
    const lazy: Check = (value, path, run) => {
      target ??= this.compile(resolveRef({ $ref: ref }, this.#root));
      return typeof value === "object" && value !== null && run.memo !== undefined
        ? remembered(target, value, { path, run, memo: run.memo })
        : target(value, path, run);
    };
    this.#references.set(ref, lazy);
    return lazy;
  }

  #object(schema: JsonSchema): Check {
    const { additionalProperties, required = [], propertyNames } = schema;
    const properties = new Map(
      Object.entries(schema.properties ?? {}).map(([key, part]) => [key, this.compile(part)]),
    );
    const patterns = Object.entries(schema.patternProperties ?? {}).map(
      ([pattern, part]) => [regExpOf(pattern), this.compile(part)] as const,
    );
    const others =
      typeof additionalProperties === "object"
        ? this.compile(additionalProperties)
        : additionalProperties === false
          ? refuseKey([...properties.keys()])
          : undefined;
    const names = propertyNames === undefined ? undefined : this.compile(propertyNames);
    const checkOf = (key: string): Check | undefined => {
      const own = properties.get(key);
      const matching = patterns.filter(([pattern]) => pattern.test(key)).map(([, check]) => check);
      if (own === undefined && matching.length === 0) return others;
      return matching.length === 0 ? own : all(own === undefined ? matching : [own, ...matching]);
    };
    return (value, path, run) => {
      if (!isPlainJsonObject(value)) return value;
      for (const key of required) {
        if (!Object.hasOwn(value, key)) report(run, joinPath(path, key), "is required");
      }
      const keys = Object.keys(value);
      checkSize(schema, keys.length, (message) => report(run, path, message));
      let result = value;
      for (const key of keys) {
        if (run.found >= MAX_ISSUES) break;
        const at = joinPath(path, key);
        if (names !== undefined) checkKeyName(names, key, { at, run });
        const before = value[key];
        const after = checkOf(key)?.(before, at, run) ?? before;
        if (after === before) continue;
        result = withKey(result === value ? { ...value } : result, key, after);
      }
      return result;
    };
  }

  #array(schema: JsonSchema): Check {
    const prefix = (schema.prefixItems ?? []).map((part) => this.compile(part));
    const items = typeof schema.items === "object" ? this.compile(schema.items) : undefined;
    const { minItems, maxItems = Infinity, uniqueItems } = schema;
    const most = schema.items === false ? Math.min(maxItems, prefix.length) : maxItems;
    return (value, path, run) => {
      if (!Array.isArray(value)) return value;
      if (minItems !== undefined && value.length < minItems) {
        const least = `must have at least ${count(minItems, "item")}`;
        report(run, path, `${least}, got ${value.length}`);
      }
      if (value.length > most) {
        report(run, path, `must have at most ${count(most, "item")}, got ${value.length}`);
      }
      if (uniqueItems === true) checkUnique(value, path, run);
      let result: unknown[] = value;
      for (const [index, before] of value.entries()) {
        if (run.found >= MAX_ISSUES) break;
        const check = prefix[index] ?? items;
        if (check === undefined) continue;
        const after = check(before, `${path}[${index}]`, run);
        if (after === before) continue;
        if (result === value) result = [...value];
        result[index] = after;
      }
      return result;
    };
  }

  #union(branches: readonly JsonSchema[], mode: "any" | "one"): Check {
    const compiled = branches.map((schema) => ({ schema, check: this.compile(schema) }));
    // Open object types may overlap, so a Date of the second branch may hide behind the first.
    const asksAll = mode === "one" || branches.some((branch) => holdsRich(branch, this.#root));
    return (value, path, run) => {
      const memo = run.memo ?? new Map<Check, Map<object, Outcome>>();
      const failures: Failure[] = [];
      let passed = 0;
      let result = value;
      for (const { schema, check } of compiled) {
        const inner: Run = { issues: [], found: 0, memo };
        const decoded = check(value, path, inner);
        if (inner.found > 0) failures.push({ schema, issues: inner.issues });
        else if (!asksAll) return decoded;
        else result = passed++ === 0 ? decoded : merge(value, result, decoded);
      }
      if (passed === 0) {
        for (const issue of explain(value, path, { failures, root: this.#root })) {
          report(run, issue.path, issue.message);
        }
      } else if (mode === "one" && passed > 1) {
        report(run, path, `fits ${passed} alternatives where only one may fit`);
      }
      return result;
    };
  }
}

function report(run: Run, path: string, message: string): void {
  run.found++;
  if (run.issues.length < MAX_ISSUES) run.issues.push({ path, message });
}

function remembered(
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
function all(checks: readonly Check[]): Check {
  const [only] = checks;
  if (checks.length === 1 && only !== undefined) return only;
  return (value, path, run) => {
    let result = value;
    for (const check of checks) result = merge(value, result, check(value, path, run));
    return result;
  };
}

/** What two checks made of the same value, together: each may have revived other parts of it. */
function merge(original: unknown, a: unknown, b: unknown): unknown {
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

interface Failure {
  schema: JsonSchema;
  issues: Issue[];
}

/** The most useful complaint about a union: of the branch that was meant, else what was expected. */
function explain(
  value: unknown,
  path: string,
  { failures, root }: { failures: readonly Failure[]; root: JsonSchema },
): Issue[] {
  if (isPlainJsonObject(value)) {
    const byTag = explainTag(value, path, { failures, root });
    if (byTag !== undefined) return byTag;
  }
  const close = failures.filter(({ schema }) => isOfKind(value, schema, root));
  const [best] = close.toSorted((a, b) => a.issues.length - b.issues.length);
  if (best !== undefined) return best.issues;
  const wanted = failures.flatMap(({ schema }) => expectations(schema, root));
  return [{ path, message: `must be ${listOr([...new Set(wanted)])}, got ${show(value)}` }];
}

/** Objects that one property's constant tells apart: `{ kind: "circle", … } | { kind: "square", … }`. */
function explainTag(
  value: Record<string, unknown>,
  path: string,
  { failures, root }: { failures: readonly Failure[]; root: JsonSchema },
): Issue[] | undefined {
  const objects = failures.flatMap(({ schema, issues }) => {
    const [branch, ...more] = alternatives(schema, root);
    return branch?.properties === undefined || more.length > 0
      ? []
      : [{ properties: branch.properties, issues }];
  });
  const [first] = objects;
  if (first === undefined || objects.length < 2) return undefined;
  const constantsAt = (properties: Record<string, JsonSchema>, key: string): unknown[] => {
    const property = ownValue(properties, key);
    return property === undefined ? [] : (constantsOf(resolveRef(property, root)) ?? []);
  };
  for (const key of Object.keys(first.properties)) {
    const tags = objects.map(({ properties }) => constantsAt(properties, key));
    const known = tags.flat().map(canonical);
    if (tags.some((one) => one.length === 0) || new Set(known).size < known.length) continue;
    const at = joinPath(path, key);
    if (!Object.hasOwn(value, key)) return [{ path: at, message: "is required" }];
    const meant = tags.findIndex((one) => one.some((tag) => equalJson(tag, value[key])));
    const words = listOr(tags.flat().map(show));
    return (
      objects[meant]?.issues ?? [{ path: at, message: `must be ${words}, got ${show(value[key])}` }]
    );
  }
  return undefined;
}

/** Checks type and constants; true when the value has them. */
function checkKind(
  schema: JsonSchema,
  root: JsonSchema,
): ((value: unknown, path: string, run: Run) => boolean) | undefined {
  const types = schema.type === undefined ? undefined : [schema.type].flat();
  const constants = constantsOf(schema);
  if (types === undefined && constants === undefined) return undefined;
  const { $ref: _, anyOf: __, oneOf: ___, ...own } = schema;
  const wanted = listOr(expectations(own, root));
  return (value, path, run) => {
    const isFine =
      (types === undefined || types.some((type) => hasType(value, type))) &&
      (constants === undefined || constants.some((one) => equalJson(one, value))) &&
      (schema.const === undefined || equalJson(schema.const, value));
    if (!isFine) report(run, path, `must be ${wanted}, got ${show(value)}`);
    return isFine;
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

function refuseKey(known: readonly string[]): Check {
  const message = unknownKey(known);
  return (value, path, run) => {
    report(run, path, message);
    return value;
  };
}

function checkSize(schema: JsonSchema, size: number, say: (message: string) => void): void {
  const { minProperties = 0, maxProperties = Infinity } = schema;
  if (size < minProperties) say(`must have at least ${count(minProperties, "property")}`);
  if (size > maxProperties) say(`must have at most ${count(maxProperties, "property")}`);
}

/** A key's name is checked as a value, but the message must not read as if it were one. */
function checkKeyName(names: Check, key: string, { at, run }: { at: string; run: Run }): void {
  const inner: Run = { issues: [], found: 0, memo: undefined };
  names(key, "", inner);
  for (const { message } of inner.issues) report(run, at, `has a name that ${message}`);
}

type Rule<T> = (value: T) => string | undefined;

function checkText(schema: JsonSchema): Check[] {
  const { minLength, maxLength, pattern, format } = schema;
  const rules: Rule<string>[] = [];
  if (minLength !== undefined) {
    const message = `must have at least ${count(minLength, "character")}`;
    rules.push((text) => (lengthOf(text) < minLength ? message : undefined));
  }
  if (maxLength !== undefined) {
    const message = `must have at most ${count(maxLength, "character")}`;
    rules.push((text) => (lengthOf(text) > maxLength ? message : undefined));
  }
  if (pattern !== undefined) {
    const expression = regExpOf(pattern);
    rules.push((text) => (expression.test(text) ? undefined : `must match ${pattern}`));
  }
  const rich = schema["x-flash-type"];
  const known = format === undefined ? undefined : formatOf(format);
  // A Date reaches further than the format of its text does.
  if (known !== undefined && rich !== "date") {
    rules.push((text) =>
      known.test(text) ? undefined : `must be ${known.words}, got ${show(text)}`,
    );
  }
  return rich === undefined
    ? rules.map((rule) => checkRules([rule]))
    : [checkRules([(text) => richMistake(text, rich), ...rules])];
}

/** The first rule that a text breaks is the complaint about it. */
function checkRules(rules: readonly Rule<string>[]): Check {
  return (value, path, run) => {
    if (typeof value !== "string") return value;
    for (const rule of rules) {
      const message = rule(value);
      if (message === undefined) continue;
      report(run, path, message);
      break;
    }
    return value;
  };
}

function checkNumber(schema: JsonSchema): Check[] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const limits: [
    limit: number | undefined,
    words: string,
    fits: (a: number, b: number) => boolean,
  ][] = [
    [minimum, "at least", (value, limit) => value >= limit],
    [maximum, "at most", (value, limit) => value <= limit],
    [exclusiveMinimum, "more than", (value, limit) => value > limit],
    [exclusiveMaximum, "less than", (value, limit) => value < limit],
    [multipleOf, "a multiple of", isMultiple],
  ];
  return limits.flatMap(([limit, words, fits]): Check[] => {
    if (limit === undefined) return [];
    return [
      (value, path, run) => {
        if (typeof value === "number" && !fits(value, limit)) {
          report(run, path, `must be ${words} ${limit}, got ${value}`);
        }
        return value;
      },
    ];
  });
}

function checkUnique(value: readonly unknown[], path: string, run: Run): void {
  const seen = new Map<string, number>();
  for (const [index, item] of value.entries()) {
    const key = canonical(item);
    const first = seen.get(key);
    if (first === undefined) seen.set(key, index);
    else {
      report(run, `${path}[${index}]`, `must differ from item ${first}`);
      return;
    }
  }
}

function richMistake(text: string, rich: RichType): string | undefined {
  if (rich === "date" && !isDateText(text)) {
    return `must be an ISO 8601 date and time, got ${show(text)}`;
  }
  if (rich === "bigint" && !/^-?\d+$/.test(text)) {
    return `must be a whole number as text, got ${show(text)}`;
  }
  if (rich === "bytes" && (/[^A-Za-z0-9+/=]/.test(text) || decodeBase64(text) === undefined)) {
    return "must be base64 text";
  }
  return undefined;
}

/** Only for values that have been found right. */
function revive(value: unknown, rich: RichType): unknown {
  if (rich === "set") return Array.isArray(value) ? new Set(value as unknown[]) : value;
  if (typeof value !== "string") return value;
  if (rich === "date") return new Date(value);
  return rich === "bigint" ? BigInt(value) : decodeBase64(value);
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/** JSON Schema counts code points, not UTF-16 units. */
function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) length++;
  return length;
}

/** 0.3 is a multiple of 0.1, although the quotient is not whole by a rounding error. */
function isMultiple(value: number, of: number): boolean {
  const quotient = value / of;
  const error = Math.abs(quotient - Math.round(quotient));
  return error <= 4 * Number.EPSILON * Math.abs(quotient);
}

function count(number: number, word: string): string {
  if (number === 1) return `1 ${word}`;
  return `${number} ${word.endsWith("y") ? `${word.slice(0, -1)}ies` : `${word}s`}`;
}
