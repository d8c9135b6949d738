/** The validator against ajv, as the oracle of what JSON Schema means. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import * as fc from "fast-check";
import type { Issue } from "../../src/contract/errors.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { compileSchema } from "../../src/contract/validator.ts";

const ajv = new Ajv2020({
  strict: false,
  allErrors: true,
  ownProperties: true,
  multipleOfPrecision: 9,
  keywords: ["x-flash-type"],
});
addFormats.default(ajv);

function issuesOf(schema: JsonSchema, value: unknown): Issue[] {
  const issues: Issue[] = [];
  compileSchema(schema)(value, "", issues);
  return issues;
}

/** Undefined where the code that ajv makes is broken: a union beside `patternProperties`, about once in 4,000. */
function verdictOfAjv(schema: JsonSchema, value: unknown): boolean | undefined {
  try {
    return ajv.validate(schema, value);
  } catch (error) {
    assert.match(String(error), /^TypeError: Cannot set properties of undefined/);
    return undefined;
  }
}

function assertSameVerdict(schema: JsonSchema, value: unknown): void {
  const issues = issuesOf(schema, value);
  const isValid = verdictOfAjv(schema, value);
  if (isValid === undefined) return;
  assert.equal(
    issues.length === 0,
    isValid,
    `${JSON.stringify(schema)} on ${JSON.stringify(value)}: ${JSON.stringify(issues)} / ${ajv.errorsText()}`,
  );
}

const small = fc.integer({ min: -3, max: 6 });
const size = fc.integer({ min: 0, max: 3 });
/** One key that every object inherits; others of that sort break ajv's own comparison of objects. */
const key = fc.constantFrom("a", "b", "c1", "c2", "isPrototypeOf");
const scalar: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    "",
    "a",
    "b",
    "ab",
    "aé",
    "😀",
    "1",
    0,
    1,
    2,
    1.5,
    -1,
  ),
  small,
  fc.string({ maxLength: 4 }),
);

const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "medium" },
    scalar,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

/** Every keyword now and then, whether or not it makes sense with the others. */
const { schema } = fc.letrec<{ schema: JsonSchema }>((tie) => {
  const part = tie("schema");
  const list = fc.array(part, { minLength: 1, maxLength: 3 });
  const ref = fc.constantFrom<JsonSchema>({ $ref: "#/$defs/Tree" }, { $ref: "#/$defs/Name" });
  const type = fc.constantFrom(
    "string",
    "number",
    "integer",
    "boolean",
    "null",
    "object",
    "array",
  ) as fc.Arbitrary<NonNullable<JsonSchema["type"]>>;
  const one: fc.Arbitrary<JsonSchema>[] = [
    ref,
    type.map((type) => ({ type })),
    fc.uniqueArray(type, { minLength: 1, maxLength: 3 }).map((type) => ({
      type: type as Exclude<JsonSchema["type"], string | undefined>,
    })),
    scalar.map((value) => ({ const: value })),
    fc.uniqueArray(scalar, { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values })),
    fc
      .dictionary(key, part, { maxKeys: 3, noNullPrototype: true })
      .map((properties) => ({ properties })),
    fc.uniqueArray(key, { maxLength: 3 }).map((required) => ({ required })),
    fc.oneof(fc.boolean(), part).map((additionalProperties) => ({ additionalProperties })),
    part.map((inner) => ({ patternProperties: { "^c": inner } })),
    fc.constant({ propertyNames: { maxLength: 2 } }),
    size.map((minProperties) => ({ minProperties })),
    size.map((maxProperties) => ({ maxProperties })),
    fc.oneof(fc.constant<false>(false), part).map((items) => ({ items })),
    list.map((prefixItems) => ({ prefixItems })),
    size.map((minItems) => ({ minItems })),
    size.map((maxItems) => ({ maxItems })),
    fc.constant({ uniqueItems: true }),
    list.map((anyOf) => ({ anyOf })),
    list.map((oneOf) => ({ oneOf })),
    list.map((allOf) => ({ allOf })),
    small.map((minimum) => ({ minimum })),
    small.map((maximum) => ({ maximum })),
    small.map((exclusiveMinimum) => ({ exclusiveMinimum })),
    small.map((exclusiveMaximum) => ({ exclusiveMaximum })),
    fc.constantFrom(1, 2, 0.5, 0.1).map((multipleOf) => ({ multipleOf })),
    size.map((minLength) => ({ minLength })),
    size.map((maxLength) => ({ maxLength })),
    fc.constantFrom("^a", "b$", "^.{2}$").map((pattern) => ({ pattern })),
  ];
  return {
    schema: fc.oneof(
      { maxDepth: 3, depthSize: "medium" },
      type.map((type): JsonSchema => ({ type })),
      fc
        .array(fc.oneof(...one), { minLength: 1, maxLength: 3 })
        .map((parts): JsonSchema => Object.assign({}, ...parts) as JsonSchema),
    ),
  };
});

const $defs: Record<string, JsonSchema> = {
  Name: { type: "string", minLength: 1 },
  Tree: {
    type: "object",
    properties: { a: { $ref: "#/$defs/Name" }, b: { $ref: "#/$defs/Tree" } },
    required: ["a"],
    additionalProperties: false,
  },
};

describe("the validator and ajv agree", () => {
  test("on every combination of keywords", () => {
    fc.assert(
      fc.property(schema, fc.array(value, { minLength: 1, maxLength: 6 }), (one, values) => {
        const whole = { ...one, $defs };
        for (const candidate of values) assertSameVerdict(whole, candidate);
      }),
      { numRuns: 1500 },
    );
  });

  const formats: Record<string, string[]> = {
    "date-time": [
      "2026-01-31T13:45:00Z",
      "2026-01-31t13:45:00z",
      "2026-01-31 13:45:00Z",
      "2026-01-31T13:45:00.123456+02:00",
      "2026-01-31T13:45:00",
      "2026-02-30T00:00:00Z",
      "2024-02-29T00:00:00Z",
      "2025-02-29T00:00:00Z",
      "2026-13-01T00:00:00Z",
      "2026-01-31T24:00:00Z",
      "2026-01-31T13:60:00Z",
      "2026-01-31T13:45:00+24:00",
      "2026-01-31",
      "1",
      "",
    ],
    date: ["2026-01-31", "2026-04-31", "2026-1-31", "2000-02-29", "1900-02-29", "2026-00-10", ""],
    time: ["13:45:00Z", "13:45:00.5+01:00", "13:45:00", "25:00:00Z", "13:45Z"],
    email: [
      "a@b.co",
      "a.b+c@d-e.org",
      "a@b",
      "@b.co",
      "a@",
      "a b@c.de",
      "a@b..de",
      ".a@b.de",
      "a@-b.de",
    ],
    uuid: [
      "01234567-89ab-4cde-8f01-23456789abcd",
      "01234567-89AB-4CDE-8F01-23456789ABCD",
      "0123456789ab4cde8f0123456789abcd",
      "g1234567-89ab-4cde-8f01-23456789abcd",
      "",
    ],
    uri: [
      "https://example.org/a?b#c",
      "urn:isbn:1",
      "mailto:a@b.de",
      "/relative",
      "https://a b",
      "http://[::1]/",
      "x:%zz",
      "no",
    ],
    ipv4: [
      "127.0.0.1",
      "255.255.255.255",
      "256.0.0.1",
      "1.2.3",
      "1.2.3.4.",
      "01.2.3.4",
      "1.2.3.4.5",
    ],
    ipv6: [
      "::",
      "::1",
      "1::",
      "2001:db8::1",
      "1:2:3:4:5:6:7:8",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1::2::3",
      "::ffff:1.2.3.4",
      "::ffff:1.2.3.256",
      "12345::",
      ":::",
      "g::",
      "1.2.3.4",
    ],
    hostname: [
      "a",
      "example.org",
      "a-b.c",
      "-a.b",
      "a-.b",
      "a..b",
      "a_b",
      `${"a".repeat(64)}.de`,
      "",
    ],
  };
  for (const [format, texts] of Object.entries(formats)) {
    test(`on the format ${format}`, () => {
      for (const one of texts) assertSameVerdict({ type: "string", format }, one);
    });
  }

  test("on formats that neither knows: they are only documentation", () => {
    assert.deepEqual(issuesOf({ type: "string", format: "binary" }, "x"), []);
  });
});
