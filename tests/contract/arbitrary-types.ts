/**
 * Types out of the space that user code can write, as JSON Schema, each with a generator of its JavaScript
 * values. Property tests of the binder and the validator draw from here.
 */

import * as fc from "fast-check";
import type { JsonSchema } from "../../src/contract/schema.ts";

export interface TypeAndValues {
  schema: JsonSchema;
  /** Values of the type, with `Date`, `Set` … where the schema has them. */
  values: fc.Arbitrary<unknown>;
}

/** JSON has one zero. */
const number: fc.Arbitrary<number> = fc
  .oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }))
  .map((value) => (value === 0 ? 0 : value));

/** Texts that look like something else are the interesting ones. */
export const text: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: "binary" }) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      "5",
      "-1.5",
      "1e3",
      "007",
      "1.0",
      "true",
      "null",
      "[]",
      '["a"]',
      "{}",
      '{"a":1}',
      '"5"',
      '"',
      "a b&c=d",
      "ä/ö%2F?#",
      " 5",
      "__proto__",
    ),
  },
);

const date: fc.Arbitrary<Date> = fc.date({ noInvalidDate: true });

const leaves: TypeAndValues[] = [
  { schema: { type: "string" }, values: text },
  { schema: { type: "number" }, values: number },
  { schema: { type: "integer" }, values: fc.integer() },
  { schema: { type: "boolean" }, values: fc.boolean() },
  { schema: { type: "null" }, values: fc.constant(null) },
  { schema: { enum: ["a", "b", "5", 5] }, values: fc.constantFrom("a", "b", "5", 5) },
  { schema: { type: "string", enum: ["on", "off"] }, values: fc.constantFrom("on", "off") },
  { schema: { const: "one" }, values: fc.constant("one") },
  { schema: { type: "string", "x-flash-type": "date" }, values: date },
  {
    schema: { type: "string", format: "date-time", "x-flash-type": "date" },
    values: date,
  },
  { schema: { type: "string", "x-flash-type": "bigint" }, values: fc.bigInt() },
  { schema: { type: "string", "x-flash-type": "bytes" }, values: fc.uint8Array() },
  { schema: { type: ["string", "number"] }, values: fc.oneof(text, number) },
];

const leaf: fc.Arbitrary<TypeAndValues> = fc.constantFrom(...leaves);

const keys: fc.Arbitrary<string[]> = fc.uniqueArray(
  fc.constantFrom("a", "b", "c", "constructor", "__proto__", "toString", "with space"),
  { maxLength: 4 },
);

/** Any type. */
export const { type: anyType } = fc.letrec<{ type: TypeAndValues; object: TypeAndValues }>(
  (tie) => ({
    type: fc.oneof(
      { maxDepth: 3, depthSize: "small", withCrossShrink: true },
      leaf,
      tie("type").map(arrayOf),
      tie("type").map(setOf),
      fc.array(tie("type"), { minLength: 1, maxLength: 3 }).map(tupleOf),
      tie("type").map(recordOf),
      tie("type").map(patternRecordOf),
      tie("object"),
      fc.array(tie("type"), { minLength: 2, maxLength: 3 }).map(unionOf),
    ),
    object: objectOf(tie("type")),
  }),
);

/** An object type, for the parameter that is the whole body. */
export const objectType: fc.Arbitrary<TypeAndValues> = objectOf(anyType);

function arrayOf({ schema, values }: TypeAndValues): TypeAndValues {
  return { schema: { type: "array", items: schema }, values: fc.array(values, { maxLength: 4 }) };
}

function setOf({ schema, values }: TypeAndValues): TypeAndValues {
  return {
    schema: { type: "array", items: schema, "x-flash-type": "set" },
    values: fc.array(values, { maxLength: 4 }).map((items) => new Set(items)),
  };
}

function tupleOf(parts: readonly TypeAndValues[]): TypeAndValues {
  return {
    schema: {
      type: "array",
      prefixItems: parts.map(({ schema }) => schema),
      items: false,
      minItems: parts.length,
    },
    values: fc.tuple(...parts.map(({ values }) => values)),
  };
}

function recordOf({ schema, values }: TypeAndValues): TypeAndValues {
  return {
    schema: { type: "object", additionalProperties: schema },
    values: fc
      .array(fc.tuple(fc.string({ unit: "grapheme", minLength: 1 }), values), { maxLength: 4 })
      .map((entries) => Object.fromEntries(entries)),
  };
}

/** Keys by pattern, as `Record<number, T>` and template literal keys have them. */
function patternRecordOf({ schema, values }: TypeAndValues): TypeAndValues {
  return {
    schema: { type: "object", patternProperties: { "^\\d+$": schema } },
    values: fc
      .array(fc.tuple(fc.nat().map(String), values), { maxLength: 4 })
      .map((entries) => Object.fromEntries(entries)),
  };
}

/** Branches that a key tells apart, as people write them, and ones that nothing tells apart. */
function unionOf(parts: readonly TypeAndValues[]): TypeAndValues {
  return {
    schema: { anyOf: parts.map(({ schema }) => schema) },
    values: fc.oneof(...parts.map(({ values }) => values)),
  };
}

function objectOf(part: fc.Arbitrary<TypeAndValues>): fc.Arbitrary<TypeAndValues> {
  return keys.chain((names) =>
    fc
      .array(fc.tuple(part, fc.boolean()), { minLength: names.length, maxLength: names.length })
      .map((parts) => {
        const entries = names.map((name, index) => ({
          name,
          part: parts[index]?.[0] ?? { schema: {}, values: fc.constant(null) },
          isRequired: parts[index]?.[1] ?? false,
        }));
        return {
          schema: {
            type: "object" as const,
            properties: Object.fromEntries(
              entries.map(({ name, part: { schema } }) => [name, schema]),
            ),
            required: entries.filter(({ isRequired }) => isRequired).map(({ name }) => name),
          },
          values: fc
            .tuple(
              ...entries.map(({ name, part: { values }, isRequired }) =>
                (isRequired ? values : fc.option(values, { nil: undefined })).map(
                  (value) => [name, value] as const,
                ),
              ),
            )
            .map((pairs) => Object.fromEntries(pairs.filter(([, value]) => value !== undefined))),
        };
      }),
  );
}
