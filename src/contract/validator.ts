/**
 * The one validator of {@link JsonSchema}. Everything that checks an input uses it: the client before
 * it sends, the server before it accepts a job, the worker before it calls. No code generation, so
 * nothing is paid at a cold start but the closures of one schema.
 *
 * Every check sees the original value and answers with the revived one. Where several apply to the
 * same value (intersections, overlapping unions), their answers are merged.
 *
 *   validator-rules   rules about one value alone
 *   validator-unions  what to say when no alternative fits
 *   validator-run     what the checks of one run share
 */

import type { Issue } from "./errors.ts";
import { MAX_DEPTH, isPlainJsonObject, isTooDeep, joinPath, withKey } from "./json.ts";
import { holdsRich, regExpOf, resolveRef, unknownKey, type JsonSchema } from "./schema.ts";
import {
  checkKind,
  checkNumber,
  checkSize,
  checkText,
  checkUnique,
  count,
  revive,
} from "./validator-rules.ts";
import {
  MAX_ISSUES,
  all,
  merge,
  remembered,
  report,
  type Check,
  type Outcome,
  type Run,
} from "./validator-run.ts";
import { explain, type Failure } from "./validator-unions.ts";

export { MAX_ISSUES } from "./validator-run.ts";

/** Checks a JSON value and returns it with rich values revived; problems go to `issues`. */
export type Validator = (value: unknown, path: string, issues: Issue[]) => unknown;

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

/** A key's name is checked as a value, but the message must not read as if it were one. */
function checkKeyName(names: Check, key: string, { at, run }: { at: string; run: Run }): void {
  const inner: Run = { issues: [], found: 0, memo: undefined };
  names(key, "", inner);
  for (const { message } of inner.issues) report(run, at, `has a name that ${message}`);
}
