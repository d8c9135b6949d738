/**
 * The corpus as one project: a load-balanced endpoint with a route for each case, a queue class with
 * a method for each, queue endpoints of their own for some.
 *
 *   routes.ts   `routes`, exports case0, case1, …
 *   queue.ts    `queue`, a class with the methods case0, case1, …
 *   alone.ts    `alone-case0`, …
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { CASES, type Case } from "./cases.ts";

export interface NamedCase extends Case {
  title: string;
  /** `case7`: its export, its method and its path. */
  id: string;
}

export const ALL: readonly NamedCase[] = Object.entries(CASES).map(([title, one], index) =>
  Object.assign({ title, id: `case${index}` }, one),
);

export const onRoutes = ({ only }: Case): boolean => only !== "qb";
export const inQueue = ({ only, input }: Case): boolean => only !== "lb" && input === undefined;

/** The endpoint whose route the case is. */
export function routesOf({ id, input }: NamedCase): string {
  return input === undefined ? "routes" : `routes-${id}`;
}

export function corpusProject(): Record<string, string> {
  assertDistinctTypes();
  return {
    "routes.ts": [
      head(),
      'const api = Endpoint({ name: "routes", cpu: "cpu5c-4-8", workers: [0, 1] });',
      ...ALL.filter(onRoutes).flatMap((one) => [one.types ?? "", routeOf(one)]),
    ].join("\n"),
    "queue.ts": [
      head(),
      ...ALL.filter(inQueue).map(({ types = "" }) => types),
      'export const queue = Endpoint({ name: "queue", workers: [0, 1], maxConcurrency: 8 }, class {',
      ...ALL.filter(inQueue).map(methodOf),
      "});",
    ].join("\n"),
    "alone.ts": [
      head(),
      ...ALL.filter(({ isAlone }) => isAlone).flatMap((one) => [one.types ?? "", aloneOf(one)]),
    ].join("\n"),
    "seen.ts": readFileSync(path.join(import.meta.dirname, "seen.ts"), "utf8"),
    "shared/orders.ts": ORDERS,
    "shared/prices/price.ts": "export interface Price { amount: number; currency: string }\n",
    "schemas.ts": SCHEMAS,
    "failing.ts": FAILING,
  };
}

const ORDERS = `
import type { Price } from "./prices/price.ts";
export interface Item { sku: string; price?: Price }
export interface Order { id: number; items: Item[] }
`;

/** Standard Schemas as libraries make them, two that describe themselves and one that does not. */
const SCHEMAS = `
type Issues = { message: string; path: (string | number)[] }[];
type Fields = Record<string, unknown>;

function schema(convert: (value: Fields, issues: Issues) => unknown, described?: object) {
  const validate = (value: unknown) => {
    const issues: Issues = [];
    const result = convert(value as Fields, issues);
    return issues.length > 0 ? { issues } : { value: result };
  };
  const jsonSchema = { input: () => described, output: () => described };
  return { "~standard": { version: 1, vendor: "corpus", validate, ...(described && { jsonSchema }) } } as const;
}

export const adult = schema((value, issues) => {
  const { name, age = 30 } = value;
  if (typeof name !== "string") issues.push({ message: "must be a name", path: ["name"] });
  if (!(Number(age) >= 18)) issues.push({ message: "must be of age", path: ["age"] });
  return { name, age };
}, {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "number", minimum: 18 } },
  required: ["name"],
});

export const counted = schema((value, issues) => {
  const { name, count = 5 } = value;
  if (typeof name !== "string") issues.push({ message: "must be a name", path: ["name"] });
  if (!(typeof count === "number" && count > 0)) issues.push({ message: "must be positive", path: ["count"] });
  return { name, count };
}, {
  type: "object",
  properties: { name: { $ref: "#/$defs/Name" }, count: { type: "number", exclusiveMinimum: 0 } },
  required: ["name"],
  $defs: { Name: { type: "string" } },
});

export const listed = schema((value, issues) => {
  const { words } = value as { words: unknown[] };
  words.forEach((word, index) => {
    if (typeof word !== "string") issues.push({ message: "must be a word", path: ["words", index] });
  });
  if (words.length > 3) issues.push({ message: "too many", path: ["words"] });
  return { words };
}, { type: "object", properties: { words: { type: "array", items: { type: "string" }, maxItems: 3 } } });

export const shouted = schema(({ word }, issues) => {
  if (typeof word !== "string" || word === "") issues.push({ message: "must be a word", path: ["word"] });
  return { word: String(word).toUpperCase() };
});
`;

/** A function that fails in its own way, as a route and as a queue function. Line 6 throws. */
const FAILING = `import { Endpoint } from "runpod-flash";

class QuotaError extends Error { override name = "QuotaError"; }

function fail(user: string): string {
  throw new QuotaError(\`no quota left for \${user}\`, { cause: new RangeError("0 of 5") });
}

export const route = Endpoint({ name: "failing-route" }).post("/fail", fail);
export const job = Endpoint({ name: "failing-job", retries: 0 }, fail);
`;

function head(): string {
  return `import { Endpoint } from "runpod-flash";
import { seen } from "./seen.ts";
import { adult, counted, listed, shouted } from "./schemas.ts";`;
}

function routeOf(one: NamedCase): string {
  const method = (one.method ?? "POST").toLowerCase();
  const api =
    one.input === undefined ? "api" : `Endpoint({ name: "${routesOf(one)}", input: ${one.input} })`;
  return `export const ${one.id} = ${api}.${method}("${pathOf(one)}", ${functionOf(one)});`;
}

function aloneOf(one: NamedCase): string {
  const input = one.input === undefined ? "" : `, input: ${one.input}`;
  return `export const ${one.id} = Endpoint({ name: "alone-${one.id}"${input} }, ${functionOf(one)});`;
}

function functionOf({ generic = "", takes, passes }: NamedCase): string {
  return `${generic}(${takes}) => seen(${passes})`;
}

function methodOf({ id, generic = "", takes, passes }: NamedCase): string {
  return `  ${id}${generic}(${takes}) { return seen(${passes}); }`;
}

export function pathOf({ id, path: rest = "" }: NamedCase): string {
  return `/${id}${rest}`;
}

/** Names of the parameters, as they are on the wire. */
export function namesOf({ names, passes }: Case): readonly string[] {
  return names ?? (passes === "" ? [] : passes.replaceAll("...", "").split(", "));
}

/** The cases share files, and interfaces of one name would silently become one. */
function assertDistinctTypes(): void {
  const all = ALL.flatMap(({ types = "" }) =>
    [...types.matchAll(/(?:^|\s)(?:interface|type|enum|function|const) (\w+)/gm)].map(
      ([, name]) => name,
    ),
  ).filter((name, index, names) => name !== names[index - 1]);
  const twice = all.filter((name, index) => all.indexOf(name) !== index);
  assert.deepEqual(twice, [], "type names that two cases have");
}
