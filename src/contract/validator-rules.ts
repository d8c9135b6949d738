/** The rules that look at one value alone: its kind, a text, a number, how many there are. */

import { formatOf, isDateText } from "./formats.ts";
import { canonical, equalJson, listOr, show } from "./json.ts";
import {
  constantsOf,
  expectations,
  hasType,
  regExpOf,
  type JsonSchema,
  type RichType,
} from "./schema.ts";
import { report, type Check, type Run } from "./validator-run.ts";

/** Checks type and constants; true when the value has them. */
export function checkKind(
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

type Rule<T> = (value: T) => string | undefined;

export function checkText(schema: JsonSchema): Check[] {
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

export function checkNumber(schema: JsonSchema): Check[] {
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

export function checkSize(schema: JsonSchema, size: number, say: (message: string) => void): void {
  const { minProperties = 0, maxProperties = Infinity } = schema;
  if (size < minProperties) say(`must have at least ${count(minProperties, "property")}`);
  if (size > maxProperties) say(`must have at most ${count(maxProperties, "property")}`);
}

export function checkUnique(value: readonly unknown[], path: string, run: Run): void {
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
export function revive(value: unknown, rich: RichType): unknown {
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

export function count(number: number, word: string): string {
  if (number === 1) return `1 ${word}`;
  return `${number} ${word.endsWith("y") ? `${word.slice(0, -1)}ies` : `${word}s`}`;
}
