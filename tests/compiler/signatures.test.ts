/**
 * A corpus of functions and the signatures they must have. All of them are endpoints of one project,
 * which is built once.
 */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import type { BuildResult } from "../../src/compiler/compiler.ts";
import type { FunctionManifest } from "../../src/contract/manifest.ts";
import { BASE64, type JsonSchema } from "../../src/contract/schema.ts";
import { compileSchema } from "../../src/contract/validator.ts";
import { build, endpointOf } from "./support.ts";

interface Case {
  /** Declarations before the function. */
  types?: string;
  /** The handler. */
  fn: string;
  /** Parameter name (with `?` when it may be left out, `...` for a rest) → schema. */
  takes: Record<string, JsonSchema>;
  gives?: JsonSchema;
  streams?: true;
  unchecked?: true;
  /** What the build says cannot be checked. */
  warns?: string[];
}

// The package is CommonJS whose types say otherwise.
const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

const STRING: JsonSchema = { type: "string" };
const NUMBER: JsonSchema = { type: "number" };
const BOOLEAN: JsonSchema = { type: "boolean" };
const DATE: JsonSchema = { type: "string", format: "date-time", "x-flash-type": "date" };
const BIGINT: JsonSchema = { type: "string", pattern: "^-?\\d+$", "x-flash-type": "bigint" };

function object(properties: Record<string, JsonSchema>): JsonSchema {
  const required = Object.keys(properties).filter((key) => !key.endsWith("?"));
  const named = Object.entries(properties).map(([key, schema]) => [key.replace(/\?$/, ""), schema]);
  return {
    type: "object",
    properties: Object.fromEntries(named) as Record<string, JsonSchema>,
    ...(required.length === 0 ? {} : { required }),
  };
}

const CASES: Record<string, Case> = {
  "primitives are themselves": {
    fn: "(a: string, b: number, c: boolean) => a",
    takes: { a: STRING, b: NUMBER, c: BOOLEAN },
    gives: STRING,
  },
  "null is a type, undefined makes a parameter optional": {
    fn: "(a: null, b: string | undefined, c: string | null) => {}",
    takes: { a: { type: "null" }, "b?": STRING, c: { type: ["string", "null"] } },
  },
  "unknown, any and object say little": {
    fn: "(a: unknown, b: any, c: object, d: {}) => {}",
    takes: {
      a: {},
      b: {},
      c: { type: ["object", "array"] },
      d: { type: ["string", "number", "boolean", "object", "array"] },
    },
  },
  "literals are constants": {
    fn: '(a: "x", b: 5, c: true) => {}',
    takes: {
      a: { type: "string", const: "x" },
      b: { type: "number", const: 5 },
      c: { type: "boolean", const: true },
    },
  },
  "unions of literals are enumerations": {
    fn: '(a: "x" | "y", b: 1 | 2 | 3, c: "x" | null) => {}',
    takes: {
      a: { type: "string", enum: ["x", "y"] },
      b: { type: "number", enum: [1, 2, 3] },
      c: { type: ["string", "null"], enum: ["x", null] },
    },
  },
  "unions of scalars are lists of types": {
    fn: "(a: string | number, b: string | boolean | null) => {}",
    takes: { a: { type: ["string", "number"] }, b: { type: ["string", "boolean", "null"] } },
  },
  "literals of two types are one enumeration": {
    fn: '(a: "auto" | 1 | 2) => {}',
    takes: { a: { type: ["string", "number"], enum: ["auto", 1, 2] } },
  },
  "a literal beside its own type adds nothing": {
    fn: '(a: "x" | (string & {})) => {}',
    takes: { a: STRING },
  },
  "an object or null is a choice": {
    fn: "(a: { x: number } | null) => {}",
    takes: { a: { anyOf: [object({ x: NUMBER }), { type: "null" }] } },
  },
  "discriminated unions keep their constants": {
    types: `type Shape1 = { kind: "circle"; radius: number } | { kind: "square"; side: number };`,
    fn: "(shape: Shape1) => {}",
    takes: {
      shape: {
        anyOf: [
          object({ kind: { type: "string", const: "circle" }, radius: NUMBER }),
          object({ kind: { type: "string", const: "square" }, side: NUMBER }),
        ],
      },
    },
  },
  "numeric enums are their numbers": {
    types: "enum Level2 { Low, Mid = 5, High }",
    fn: "(a: Level2, b: Level2.Mid) => {}",
    takes: { a: { type: "number", enum: [0, 5, 6] }, b: { type: "number", const: 5 } },
  },
  "string enums are their texts": {
    types: 'enum Color3 { Red = "red", Blue = "blue" }',
    fn: "(a: Color3, b?: Color3) => {}",
    takes: {
      a: { type: "string", enum: ["red", "blue"] },
      "b?": { type: "string", enum: ["red", "blue"] },
    },
  },
  "values of a const object are an enumeration": {
    types:
      'const Size4 = { S: "small", L: "large" } as const; type Size4 = (typeof Size4)[keyof typeof Size4];',
    fn: "(a: Size4) => {}",
    takes: { a: { type: "string", enum: ["large", "small"] } },
  },
  "keyof typeof gives the keys": {
    types: "const prices5 = { basic: 1, pro: 2 };",
    fn: "(plan: keyof typeof prices5) => {}",
    takes: { plan: { type: "string", enum: ["basic", "pro"] } },
  },
  "arrays, readonly or not": {
    fn: "(a: string[], b: readonly number[], c: ReadonlyArray<boolean[]>) => {}",
    takes: {
      a: { type: "array", items: STRING },
      b: { type: "array", items: NUMBER },
      c: { type: "array", items: { type: "array", items: BOOLEAN } },
    },
  },
  "tuples with optional and rest elements": {
    fn: "(a: [string, number], b: [string, number?], c: [string, ...number[]], d: []) => {}",
    takes: {
      a: { type: "array", minItems: 2, prefixItems: [STRING, NUMBER], items: false },
      b: { type: "array", minItems: 1, prefixItems: [STRING, NUMBER], items: false },
      c: { type: "array", minItems: 1, prefixItems: [STRING], items: NUMBER },
      d: { type: "array", maxItems: 0 },
    },
  },
  "elements behind a rest may be anything of the tail": {
    fn: "(a: [...string[], number]) => {}",
    takes: { a: { type: "array", minItems: 1, items: { type: ["string", "number"] } } },
    warns: ["a: the order of the elements behind the rest is unchecked"],
  },
  "the case of letters is left to the function": {
    fn: '(code: Uppercase<string>, key: `x-${Lowercase<string>}`, fixed: Uppercase<"a" | "b">) => {}',
    takes: {
      code: STRING,
      key: { type: "string", pattern: "^x-[\\s\\S]*$" },
      fixed: { type: "string", enum: ["A", "B"] },
    },
    warns: [
      "code: the case of the letters is unchecked",
      "key: the case of the letters is unchecked",
    ],
  },
  "literals of bigint are constants as text": {
    fn: "(a: 5n | -6n, b: 1n | null) => {}",
    takes: {
      a: {
        anyOf: [
          { ...BIGINT, const: "5" },
          { ...BIGINT, const: "-6" },
        ],
      },
      b: { anyOf: [{ ...BIGINT, const: "1" }, { type: "null" }] },
    },
  },
  "records and index signatures": {
    fn: '(a: Record<string, number>, b: { [key: string]: string[] }, c: Record<"x" | "y", boolean>) => {}',
    takes: {
      a: { type: "object", additionalProperties: NUMBER },
      b: { type: "object", additionalProperties: { type: "array", items: STRING } },
      c: object({ x: BOOLEAN, y: BOOLEAN }),
    },
  },
  "index signatures of numbers and templates are patterns": {
    fn: "(a: { [n: number]: string }, b: { [k: `x-${string}`]: number }) => {}",
    takes: {
      a: { type: "object", patternProperties: { "^-?\\d+(\\.\\d+)?$": STRING } },
      b: { type: "object", patternProperties: { "^x-[\\s\\S]*$": NUMBER } },
    },
  },
  "known and further keys together": {
    fn: "(a: { id: number; [key: string]: number }) => {}",
    takes: { a: { ...object({ id: NUMBER }), additionalProperties: NUMBER } },
  },
  "optional parameters and properties": {
    fn: "(a: { x?: number; y: string | undefined; z: string }, b?: string) => {}",
    takes: { a: { ...object({ "x?": NUMBER, "y?": STRING, z: STRING }) }, "b?": STRING },
  },
  "defaults give types and are told": {
    fn: '(a = 2, b = "x", c = true, d = -1.5, e: string[] = [], f = null as string | null) => {}',
    takes: {
      "a?": { type: "number", default: 2 },
      "b?": { type: "string", default: "x" },
      "c?": { type: "boolean", default: true },
      "d?": { type: "number", default: -1.5 },
      "e?": { type: "array", items: STRING, default: [] },
      "f?": { type: ["string", "null"], default: null },
    },
  },
  "a destructured object is called input": {
    fn: "({ name, limit = 10 }: { name: string; limit?: number }) => name + limit",
    takes: { input: object({ name: STRING, "limit?": NUMBER }) },
    gives: STRING,
  },
  "rest parameters are arrays": {
    fn: "(first: string, ...others: number[]) => {}",
    takes: { first: STRING, "...others": { type: "array", items: NUMBER } },
  },
  "a rest of a tuple is parameters": {
    types: "type Args6 = [path: string, depth?: number];",
    fn: "(...args: Args6) => {}",
    takes: { path: STRING, "depth?": NUMBER },
  },
  "generics are taken as instantiated": {
    types: "interface Page7<T> { items: T[]; next: string | null }",
    fn: "(page: Page7<{ id: number }>) => {}",
    takes: {
      page: object({
        items: { type: "array", items: object({ id: NUMBER }) },
        next: { type: ["string", "null"] },
      }),
    },
  },
  "a type parameter is what it extends": {
    fn: "<T extends { id: string }, U>(a: T, b: U) => {}",
    takes: { a: object({ id: STRING }), b: {} },
  },
  "utility types are worked out": {
    types: "interface Full8 { a: string; b?: number; c: boolean }",
    fn: '(a: Partial<Full8>, b: Pick<Full8, "a" | "b">, c: Omit<Full8, "c">, d: Required<Full8>, e: Readonly<Full8>) => {}',
    takes: {
      a: object({ "a?": STRING, "b?": NUMBER, "c?": BOOLEAN }),
      b: object({ a: STRING, "b?": NUMBER }),
      c: object({ a: STRING, "b?": NUMBER }),
      d: object({ a: STRING, b: NUMBER, c: BOOLEAN }),
      e: object({ a: STRING, "b?": NUMBER, c: BOOLEAN }),
    },
  },
  "types derived from functions": {
    types: "async function load9(id: number) { return { id, tags: [] as string[] }; }",
    fn: "(a: Awaited<ReturnType<typeof load9>>, b: Parameters<typeof load9>[0], c: NonNullable<string | null>) => {}",
    takes: {
      a: object({ id: NUMBER, tags: { type: "array", items: STRING } }),
      b: NUMBER,
      c: STRING,
    },
  },
  "mapped and conditional types": {
    types:
      "type Flags10<T> = { [K in keyof T]: boolean }; type Unwrap10<T> = T extends (infer U)[] ? U : T;",
    fn: "(a: Flags10<{ x: 1; y: 2 }>, b: Unwrap10<string[]>) => {}",
    takes: { a: object({ x: BOOLEAN, y: BOOLEAN }), b: STRING },
  },
  "keys renamed by a mapped type": {
    types: "type Prefixed11<T> = { [K in keyof T & string as `get_${K}`]: T[K] };",
    fn: "(a: Prefixed11<{ x: number }>) => {}",
    takes: { a: object({ get_x: NUMBER }) },
  },
  "template literals are patterns": {
    fn: '(a: `user-${number}`, b: `${"a" | "b"}.txt`, c: `${string}@${string}`) => {}',
    takes: {
      a: { type: "string", pattern: "^user--?\\d+(\\.\\d+)?([eE][+-]?\\d+)?$" },
      b: { type: "string", enum: ["a.txt", "b.txt"] },
      c: { type: "string", pattern: "^[\\s\\S]*@[\\s\\S]*$" },
    },
  },
  "imported interfaces, also from other folders": {
    types: 'import type { Order } from "./lib/orders.ts"; import { type Item } from "@lib/orders";',
    fn: "(order: Order, item: Item) => {}",
    takes: {
      order: object({ id: NUMBER, items: { type: "array", items: object({ sku: STRING }) } }),
      item: object({ sku: STRING }),
    },
  },
  "recursive types refer to themselves": {
    types: "interface Tree12 { value: number; children: Tree12[] }",
    fn: "(tree: Tree12) => {}",
    takes: {
      tree: {
        $ref: "#/$defs/Tree12",
        $defs: {
          Tree12: object({
            value: NUMBER,
            children: { type: "array", items: { $ref: "#/$defs/Tree12" } },
          }),
        },
      },
    },
  },
  "generic recursive types have readable names": {
    types: "interface Node13<T> { value: T; next?: Node13<T> }",
    fn: "(list: Node13<string>) => {}",
    takes: {
      list: {
        $ref: "#/$defs/Node13_string",
        $defs: {
          Node13_string: object({ value: STRING, "next?": { $ref: "#/$defs/Node13_string" } }),
        },
      },
    },
  },
  "recursive aliases such as JSON": {
    types: "type Json14 = string | number | boolean | null | Json14[] | { [key: string]: Json14 };",
    fn: "(value: Json14) => {}",
    takes: {
      value: {
        $ref: "#/$defs/Json14",
        $defs: {
          Json14: {
            anyOf: [
              { type: "array", items: { $ref: "#/$defs/Json14" } },
              { type: "object", additionalProperties: { $ref: "#/$defs/Json14" } },
              { type: ["string", "number", "boolean"] },
              { type: "null" },
            ],
          },
        },
      },
    },
  },
  "a type used twice is defined once": {
    types: "interface Money15 { amount: number; currency: string }",
    fn: "(a: { price: Money15; tax: Money15 }) => {}",
    takes: {
      a: {
        ...object({ price: { $ref: "#/$defs/Money15" }, tax: { $ref: "#/$defs/Money15" } }),
        $defs: { Money15: object({ amount: NUMBER, currency: STRING }) },
      },
    },
  },
  "intersections of objects are merged": {
    types: "interface A16 { a: string } interface B16 { b?: number }",
    fn: "(x: A16 & B16 & { c: boolean }) => {}",
    takes: { x: object({ a: STRING, "b?": NUMBER, c: BOOLEAN }) },
  },
  "an intersection with a union is a union": {
    fn: '(x: { id: number } & ({ t: "a"; a: string } | { t: "b" })) => {}',
    takes: {
      x: {
        anyOf: [
          object({ id: NUMBER, t: { type: "string", const: "a" }, a: STRING }),
          object({ id: NUMBER, t: { type: "string", const: "b" } }),
        ],
      },
    },
  },
  "inherited properties count": {
    types: "interface Base17 { id: number } interface Derived17 extends Base17 { name: string }",
    fn: "(x: Derived17) => {}",
    takes: { x: object({ name: STRING, id: NUMBER }) },
  },
  "other branded values are what they are without the brand": {
    types: `declare const brand18: unique symbol;
      type Tags18 = string[] & { readonly __brand: "Tags" }; type Day18 = Date & { [brand18]: 1 };`,
    fn: "(a: Tags18, b: Day18) => {}",
    takes: { a: { type: "array", items: STRING }, b: DATE },
  },
  "branded primitives are primitives": {
    types:
      'type UserId18 = string & { readonly __brand: "UserId" }; type Cents18 = number & { _c?: never };',
    fn: "(a: UserId18, b: Cents18) => {}",
    takes: { a: STRING, b: NUMBER },
  },
  "rich values are marked": {
    fn: "(a: Date, b: Set<string>, c: bigint, d: { at?: Date }) => {}",
    takes: {
      a: DATE,
      b: { type: "array", items: STRING, uniqueItems: true, "x-flash-type": "set" },
      c: BIGINT,
      d: object({ "at?": DATE }),
    },
  },
  "a date or null is a choice": {
    fn: "(a: Date | null) => {}",
    takes: { a: { anyOf: [DATE, { type: "null" }] } },
  },
  "bytes travel as text in a queue": {
    fn: "(a: Uint8Array, b: { data: Uint8Array }) => {}",
    takes: {
      a: BASE64,
      b: object({ data: BASE64 }),
    },
  },
  "a class is its public fields": {
    types: "class Point19 { x = 0; y = 0; private secret = 1; #hidden = 2; }",
    fn: "(p: Point19) => {}",
    takes: { p: object({ x: NUMBER, y: NUMBER }) },
  },
  "exclusive unions leave out what must be absent": {
    fn: "(x: { a: string; b?: never } | { b: string; a?: never }) => {}",
    takes: { x: { anyOf: [object({ a: STRING }), object({ b: STRING })] } },
  },
  "unusual keys are keys": {
    fn: '(x: { "a-b": number; "1": string; __proto__: boolean }) => {}',
    takes: {
      x: {
        type: "object",
        properties: Object.fromEntries([
          ["1", STRING],
          ["a-b", NUMBER],
          ["__proto__", BOOLEAN],
        ]),
        required: ["a-b", "1", "__proto__"],
      },
    },
  },
  "promises are awaited in the result": {
    fn: "async (): Promise<{ id: number; name?: string }> => ({ id: 1 })",
    takes: {},
    gives: object({ id: NUMBER, "name?": STRING }),
  },
  "a result that may be missing may be null": {
    fn: "(a: string) => (a === '' ? undefined : { a })",
    takes: { a: STRING },
    gives: { anyOf: [object({ a: STRING }), { type: "null" }] },
  },
  "inferred results are described": {
    fn: "async (a: number) => ({ sum: a + 1, tags: ['x'], when: new Date() })",
    takes: { a: NUMBER },
    gives: object({ sum: NUMBER, tags: { type: "array", items: STRING }, when: DATE }),
  },
  "async generators stream what they yield": {
    fn: "async function* (n: number) { for (let i = 0; i < n; i++) yield { i }; }",
    takes: { n: NUMBER },
    gives: object({ i: NUMBER }),
    streams: true,
  },
  "a readable stream streams something": {
    fn: "(): ReadableStream<string> => new ReadableStream()",
    takes: {},
    streams: true,
  },
  "a Response has no schema": { fn: "async () => new Response('x')", takes: {} },
  "functions in a result are left out, as JSON does": {
    fn: "() => ({ a: 1, f: () => 2 })",
    takes: {},
    gives: object({ a: NUMBER }),
  },
  "what a result cannot say is left open": {
    fn: "() => ({ index: new Map<string, number>() })",
    takes: {},
    gives: object({ index: {} }),
  },
  "without types only names are known": {
    fn: "(a, b = 3, c?) => a",
    takes: { a: {}, "b?": { type: "number", default: 3 }, "c?": {} },
  },
  "no types at all is said to be unchecked": {
    fn: "(a, b) => a",
    takes: { a: {}, b: {} },
    unchecked: true,
  },
  "JavaScript is unchecked": {
    types: 'import { legacy } from "./legacy.js";',
    fn: "legacy",
    takes: { text: {}, "count?": {} },
    unchecked: true,
  },
  "a function given by name": {
    types: "function named20(a: string): number { return a.length; }",
    fn: "named20",
    takes: { a: STRING },
    gives: NUMBER,
  },
  "a function imported from another file": {
    types: 'import { work } from "./lib/orders.ts";',
    fn: "work",
    takes: {
      order: object({ id: NUMBER, items: { type: "array", items: object({ sku: STRING }) } }),
    },
    gives: NUMBER,
  },
  "a function kept in a variable or an object": {
    types: "const keep21 = { inner: (a: number): string => String(a) };",
    fn: "keep21.inner",
    takes: { a: NUMBER },
    gives: STRING,
  },
  "a function that another one returns": {
    types:
      "function logged22<A extends unknown[], R>(f: (...args: A) => R) { return (...args: A): R => f(...args); }",
    fn: "logged22((name: string, times?: number) => name.length)",
    takes: { name: STRING, "times?": NUMBER },
    gives: NUMBER,
  },
  "a function with a cast around it": {
    fn: "((a: string) => a) satisfies (a: string) => string",
    takes: { a: STRING },
    gives: STRING,
  },
  "comments constrain and describe": {
    types: `interface Form23 {
      /**
       * Who to write to.
       * @format email
       * @maxLength 100
       */
      email: string;
      /** @minimum 0 @maximum 10 */
      score?: number;
      /** @asType integer */
      count: number;
      /**
       * @minItems 1
       * @maxItems 3
       */
      tags: string[];
      /** @pattern ^[a-z]+$ */
      slug: string;
    }`,
    fn: "(form: Form23) => {}",
    takes: {
      form: object({
        email: { type: "string", format: "email", maxLength: 100, description: "Who to write to." },
        "score?": { type: "number", minimum: 0, maximum: 10 },
        count: { type: "integer" },
        tags: { type: "array", items: STRING, minItems: 1, maxItems: 3 },
        slug: { type: "string", pattern: "^[a-z]+$" },
      }),
    },
  },
  "comments on an alias of a scalar constrain what has it as its type": {
    types: `
    /** An address. @format email */
    type Email24 = string;
    /** @integer
     * @minimum 0 */
    type Count24 = number;`,
    fn: `(to: Email24, form: {
      /** @maximum 9 */
      n: Count24;
      cc?: Email24[];
    }) => {}`,
    takes: {
      to: { type: "string", format: "email" },
      form: object({
        n: { type: "integer", minimum: 0, maximum: 9 },
        "cc?": { type: "array", items: STRING },
      }),
    },
  },
  "comments on aliases constrain behind question marks, beside null and under a brand": {
    types: `/** @format email */ type Email24 = string;
      /** @minimum 1 */ type Count24 = number & { readonly __brand: "Count" };`,
    fn: "(a: { x?: Email24; y: Email24 | null; n: Count24[] }, b?: Email24, c?: string | Email24) => {}",
    takes: {
      a: object({
        "x?": { type: "string", format: "email" },
        y: { type: ["string", "null"], format: "email" },
        n: { type: "array", items: { type: "number", minimum: 1 } },
      }),
      "b?": { type: "string", format: "email" },
      "c?": STRING,
    },
  },
  "lists that hold themselves": {
    types: "type Nested25 = [name: string, ...Nested25[]]; type Lists26 = Lists26[];",
    fn: "(a: Nested25, b: Lists26) => {}",
    takes: {
      a: {
        $ref: "#/$defs/Nested25",
        $defs: {
          Nested25: {
            type: "array",
            minItems: 1,
            prefixItems: [STRING],
            items: { $ref: "#/$defs/Nested25" },
          },
        },
      },
      b: {
        $ref: "#/$defs/Lists26",
        $defs: { Lists26: { type: "array", items: { $ref: "#/$defs/Lists26" } } },
      },
    },
  },
  "a type that is not found": {
    types: 'import type { Gone27 } from "a-package-that-is-not-installed";',
    fn: "(a: Missing27, b: { c: Gone27 }, d: string) => {}",
    takes: { a: {}, b: object({ c: {} }), d: STRING },
    warns: [
      "a is unchecked, because its type 'Missing27' is not found",
      "b.c is unchecked, because its type 'Gone27' is not found",
    ],
  },
  "formats that nothing checks are documentation": {
    fn: "(/** @format url */ a: string, /** @format uri */ b: string, /** @format password */ c: string) => {}",
    takes: {
      a: { type: "string", format: "url" },
      b: { type: "string", format: "uri" },
      c: { type: "string", format: "password" },
    },
    warns: ["a: the format 'url' is unchecked"],
  },
  "comments on the line of a property count": {
    fn: "(a: { /** How much. @minimum 0 */ n: number; /** @minLength 3 @maxLength 4 */ s?: string; t: string }) => {}",
    takes: {
      a: object({
        n: { type: "number", minimum: 0, description: "How much." },
        "s?": { type: "string", minLength: 3, maxLength: 4 },
        t: STRING,
      }),
    },
  },
  "comments on parameters constrain them": {
    fn: `(
      /** @minLength 3 */ name: string,
      /** @integer @minimum 1 */ count = 1,
    ) => {}`,
    takes: {
      name: { type: "string", minLength: 3 },
      "count?": { type: "integer", minimum: 1, default: 1 },
    },
  },
};

/** One file a case, so that names do not meet. */
function corpus(): string {
  const files = Object.values(CASES).map(({ types = "", fn }, index) =>
    [
      `-- case${index}.ts --`,
      'import { Endpoint } from "runpod-flash";',
      types,
      `export const case${index} = Endpoint({ name: "case${index}" }, ${fn});`,
      "",
    ].join("\n"),
  );
  return `${files.join("\n")}
-- lib/orders.ts --
export interface Item { sku: string }
export interface Order { id: number; items: Item[] }
export function work(order: Order): number { return order.items.length; }
-- legacy.js --
export function legacy(text, count = 1) { return text.repeat(count); }
-- tsconfig.json --
{ "compilerOptions": { "strict": false, "paths": { "@lib/*": ["./lib/*"] }, "module": "nodenext", "allowImportingTsExtensions": true, "noEmit": true } }
`;
}

describe("signatures", () => {
  let result: BuildResult;
  before(async () => {
    result = await build(corpus());
  });
  test("whatever is unchecked is said to be", () => {
    const said = result.warnings.map(({ message }) => message);
    const wanted = Object.values(CASES).flatMap(({ warns = [] }) => warns);
    for (const start of wanted)
      assert.ok(
        said.some((one) => one.startsWith(start)),
        start,
      );
    assert.equal(said.length, wanted.length, said.join("\n"));
  });

  for (const [index, [title, one]] of Object.entries(CASES).entries()) {
    test(title, () => {
      const [found] = endpointOf(result, `case${index}`).functions;
      assert.ok(found !== undefined);
      assert.deepEqual(takenBy(found), one.takes);
      assert.deepEqual(found.returns, one.gives);
      assert.equal(found.streams, one.streams ?? false);
      assert.equal(found.checked, one.unchecked !== true);
    });
  }
});

test("every schema of the corpus is one for an independent validator too", async () => {
  const ajv = new Ajv2020({ strict: false, validateSchema: true });
  ajv.addKeyword("x-flash-type");
  addFormats(ajv);
  const { manifest } = await build(corpus());
  const schemas = manifest.endpoints.flatMap(({ functions }) =>
    functions.flatMap(({ parameters, returns }) => [
      ...parameters.map(({ schema }) => schema),
      ...(returns === undefined ? [] : [returns]),
    ]),
  );
  assert.ok(schemas.length > 100);
  for (const schema of schemas) {
    assert.doesNotThrow(() => ajv.compile(schema), JSON.stringify(schema));
    assert.doesNotThrow(() => compileSchema(schema), JSON.stringify(schema));
  }
});

function takenBy({ parameters }: FunctionManifest): Record<string, JsonSchema> {
  return Object.fromEntries(
    parameters.map(({ name, required, rest, schema }) => {
      if (rest === true) return [`...${name}`, schema];
      return [required ? name : `${name}?`, schema];
    }),
  );
}
