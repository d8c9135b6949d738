import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Issue } from "../../src/contract/errors.ts";
import { show } from "../../src/contract/json.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { compileSchema } from "../../src/contract/validator.ts";

function check(
  schema: JsonSchema,
  value: unknown,
  path = "x",
): { issues: Issue[]; result: unknown } {
  const issues: Issue[] = [];
  const result = compileSchema(schema)(value, path, issues);
  return { issues, result };
}

function messages(schema: JsonSchema, value: unknown): string[] {
  return check(schema, value).issues.map(({ path, message }) => `${path} ${message}`);
}

describe("messages", () => {
  const shape: JsonSchema = {
    anyOf: [
      {
        type: "object",
        properties: { kind: { const: "circle" }, radius: { type: "number", minimum: 0 } },
        required: ["kind", "radius"],
      },
      {
        type: "object",
        properties: { kind: { const: "square" }, side: { type: "number" } },
        required: ["kind", "side"],
      },
    ],
  };
  const cases: [schema: JsonSchema, value: unknown, wanted: string[]][] = [
    [{ type: "number" }, "a", ['x must be a number, got "a"']],
    [{ type: "integer" }, 1.5, ["x must be a whole number, got 1.5"]],
    [{ type: ["string", "null"] }, 1, ["x must be a string or null, got 1"]],
    [{ type: "boolean" }, "yes", ['x must be true or false, got "yes"']],
    [{ enum: ["a", "b", 3] }, "c", ['x must be "a", "b" or 3, got "c"']],
    [{ type: "string", enum: ["a", "b"] }, 5, ['x must be "a" or "b", got 5']],
    [{ type: "number", minimum: 1 }, 0, ["x must be at least 1, got 0"]],
    [{ type: "number", exclusiveMaximum: 1 }, 1, ["x must be less than 1, got 1"]],
    [{ type: "number", multipleOf: 0.1 }, 0.25, ["x must be a multiple of 0.1, got 0.25"]],
    [{ type: "string", minLength: 2 }, "a", ["x must have at least 2 characters"]],
    [{ type: "string", maxLength: 1 }, "ab", ["x must have at most 1 character"]],
    [{ type: "string", pattern: "^a" }, "b", ["x must match ^a"]],
    [{ type: "string", format: "email" }, "b", ['x must be an e-mail address, got "b"']],
    [{ type: "array", minItems: 2 }, [1], ["x must have at least 2 items, got 1"]],
    [{ type: "array", uniqueItems: true }, [1, 2, 1], ["x[2] must differ from item 0"]],
    [{ type: "object", minProperties: 2 }, {}, ["x must have at least 2 properties"]],
    [
      { type: "object", propertyNames: { maxLength: 1 } },
      { ab: 1 },
      ["x.ab has a name that must have at most 1 character"],
    ],
    [
      { type: "object", properties: { a: {} }, additionalProperties: false },
      { a: 1, b: 2, "c d": 3 },
      ["x.b is not expected; known: a", 'x["c d"] is not expected; known: a'],
    ],
    [
      { type: "string", "x-flash-type": "date" },
      "soon",
      ['x must be an ISO 8601 date and time, got "soon"'],
    ],
    [
      { type: "string", "x-flash-type": "date" },
      "2026-02-30T00:00:00Z",
      ['x must be an ISO 8601 date and time, got "2026-02-30T00:00:00Z"'],
    ],
    [
      { type: "string", "x-flash-type": "bigint" },
      "1.5",
      ['x must be a whole number as text, got "1.5"'],
    ],
    [{ type: "string", "x-flash-type": "bytes" }, "%", ["x must be base64 text"]],
    // Unions: of the branch that was meant.
    [
      { anyOf: [{ enum: ["auto"] }, { type: "number", minimum: 1 }] },
      0,
      ["x must be at least 1, got 0"],
    ],
    [
      { anyOf: [{ enum: ["auto"] }, { type: "number", minimum: 1 }] },
      "x",
      ['x must be "auto" or a number, got "x"'],
    ],
    [
      { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
      ["a", 1],
      ["x[1] must be a string, got 1"],
    ],
    [shape, { kind: "circle", radius: -1 }, ["x.radius must be at least 0, got -1"]],
    [shape, { kind: "square" }, ["x.side is required"]],
    [shape, { kind: "oval" }, ['x.kind must be "circle" or "square", got "oval"']],
    [shape, {}, ["x.kind is required"]],
    [shape, "circle", ['x must be an object, got "circle"']],
    [{ anyOf: [shape, { type: "string" }] }, { kind: "square" }, ["x.side is required"]],
    [
      {
        anyOf: [
          {
            type: "object",
            properties: { a: { type: "number" }, b: { type: "number" } },
            required: ["a", "b"],
          },
          { type: "object", properties: { c: { type: "number" } }, required: ["c"] },
        ],
      },
      { c: "1" },
      ['x.c must be a number, got "1"'],
    ],
    [
      { oneOf: [{ type: "number" }, { minimum: 0 }] },
      1,
      ["x fits 2 alternatives where only one may fit"],
    ],
  ];
  for (const [schema, value, wanted] of cases) {
    test(`${JSON.stringify(value)}: ${wanted.join("; ")}`, () => {
      assert.deepEqual(messages(schema, value), wanted);
    });
  }

  test("all that is wrong with an object is said at once, nested things included", () => {
    const user: JsonSchema = {
      type: "object",
      properties: {
        name: { type: "string", minLength: 2, pattern: "^[A-Z]" },
        age: { type: "integer" },
        tags: { type: "array", items: { type: "string" } },
      },
      required: ["name", "age", "email"],
    };
    assert.deepEqual(messages(user, { name: "a", tags: ["ok", 1, 2] }), [
      "x.age is required",
      "x.email is required",
      "x.name must have at least 2 characters",
      "x.name must match ^[A-Z]",
      "x.tags[1] must be a string, got 1",
      "x.tags[2] must be a string, got 2",
    ]);
    const both: JsonSchema = { allOf: [{ required: ["a"] }, { type: "object", required: ["b"] }] };
    assert.deepEqual(messages(both, {}), ["x.a is required", "x.b is required"]);
  });

  test("shown values are short, whatever their size", () => {
    assert.equal(show("x".repeat(1_000_000)).length, 60);
    assert.equal(show(Array.from({ length: 1_000_000 }, (_, index) => index)).length, 60);
    assert.equal(show({ a: [1, "b", { c: null }] }), '{"a":[1,"b",{"c":null}]}');
    assert.equal(show(undefined), "nothing");
  });
});

describe("revived values", () => {
  const at: JsonSchema = { type: "string", format: "date-time", "x-flash-type": "date" };
  const when = "2026-01-31T13:45:00.000Z";

  test("parts of an intersection each revive their own", () => {
    const schema: JsonSchema = {
      allOf: [
        { type: "object", properties: { a: at, both: at } },
        { type: "object", properties: { b: at, both: at } },
      ],
    };
    const date = new Date(when);
    const value = { a: when, b: when, both: when, c: when };
    assert.deepEqual(check(schema, value).result, { a: date, b: date, both: date, c: when });
  });

  test("open branches of a union that overlap revive the parts of all that fit", () => {
    const schema: JsonSchema = {
      anyOf: [
        { type: "object", properties: { a: at } },
        { type: "object", properties: { a: at, b: at }, required: ["b"] },
      ],
    };
    const date = new Date(when);
    assert.deepEqual(check(schema, { a: when, b: when }).result, { a: date, b: date });
  });

  test("the value that was checked stays as it was", () => {
    const value = { list: [when, when] };
    const schema: JsonSchema = { properties: { list: { type: "array", items: at } } };
    const { result } = check(schema, value);
    assert.deepEqual(value, { list: [when, when] });
    assert.deepEqual(result, { list: [new Date(when), new Date(when)] });
  });

  test("nothing is revived beside an issue", () => {
    const schema: JsonSchema = { type: "array", items: { type: "number" }, "x-flash-type": "set" };
    assert.deepEqual(check(schema, [1, "a"]).result, [1, "a"]);
  });
});

describe("hostile values", () => {
  const tree: JsonSchema = {
    $ref: "#/$defs/Tree",
    $defs: {
      Tree: {
        anyOf: [
          {
            type: "object",
            properties: {
              a: { $ref: "#/$defs/Tree" },
              b: { $ref: "#/$defs/Tree" },
              x: { type: "string" },
            },
            required: ["x"],
          },
          {
            type: "object",
            properties: {
              a: { $ref: "#/$defs/Tree" },
              b: { $ref: "#/$defs/Tree" },
              y: { type: "string" },
            },
            required: ["y"],
          },
          { type: "number" },
        ],
      },
    },
  };

  test("JSON nested a hundred thousand levels deep is refused, not a stack overflow", () => {
    const deep: unknown = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
    const schemas: JsonSchema[] = [{}, { type: "array", items: {} }, { uniqueItems: true }, tree];
    for (const schema of schemas) {
      assert.deepEqual(messages(schema, deep), ["x is nested deeper than 256 levels"]);
    }
  });

  test("256 levels are fine, also for recursive unions whose branches all recurse", () => {
    let value: unknown = "neither";
    for (let level = 0; level < 250; level++) value = { a: value, b: 1 };
    const started = performance.now();
    assert.equal(check(tree, value).issues.length > 0, true);
    let good: unknown = 1;
    for (let level = 0; level < 255; level++) good = { a: good, y: "y" };
    assert.deepEqual(check(tree, good).issues, []);
    // Without memory of what was checked this takes longer than the universe is old.
    assert.ok(performance.now() - started < 5_000);
  });

  test("a million mistakes are a hundred issues", () => {
    const value = Array.from({ length: 1_000_000 }, () => 1);
    assert.equal(check({ type: "array", items: { type: "string" } }, value).issues.length, 100);
    const keys = Object.fromEntries(value.slice(0, 100_000).map((_, index) => [`k${index}`, 1]));
    assert.equal(check({ additionalProperties: false }, keys).issues.length, 100);
    assert.equal(check({ additionalProperties: { type: "string" } }, keys).issues.length, 100);
  });

  test("keys of Object.prototype are keys like any other", () => {
    const number: JsonSchema = { type: "number" };
    const schema: JsonSchema = {
      type: "object",
      properties: { toString: number },
      required: ["constructor"],
      additionalProperties: { type: "string" },
    };
    assert.deepEqual(messages(schema, {}), ["x.constructor is required"]);
    const value: unknown = JSON.parse('{"constructor":"a","__proto__":"b","toString":1}');
    const { issues, result } = check(schema, value);
    assert.deepEqual(issues, []);
    assert.deepEqual(result, value);
    assert.equal(Object.getPrototypeOf(result), Object.prototype);
    const dates: unknown = JSON.parse('{"__proto__":"2026-01-31T13:45:00Z"}');
    const revived = check(
      { additionalProperties: { type: "string", "x-flash-type": "date" } },
      dates,
    );
    assert.ok(Object.hasOwn(revived.result as object, "__proto__"));
    assert.equal(Object.getPrototypeOf(revived.result), Object.prototype);
  });

  test("schemas that lead to themselves or nowhere accept anything", () => {
    const loop: JsonSchema = { $ref: "#/$defs/A", $defs: { A: { $ref: "#/$defs/A" } } };
    assert.deepEqual(check(loop, 1).issues, []);
    assert.deepEqual(check({ $ref: "#/$defs/constructor" }, 1).issues, []);
    assert.deepEqual(check({ $ref: "https://elsewhere" }, 1).issues, []);
    assert.deepEqual(
      check({ $ref: "#/$defs/100%", $defs: { "100%": { type: "string" } } }, 1).issues.length,
      1,
    );
  });

  test("a number that is infinite once parsed is no number", () => {
    const value: unknown = JSON.parse("1e999");
    assert.deepEqual(messages({ type: "number" }, value), ["x must be a number, got Infinity"]);
  });
});
