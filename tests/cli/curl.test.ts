/** Printed calls: they must work when they are pasted. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { curlLines } from "../../src/cli/curl.ts";
import { sampleValue } from "../../src/contract/sample.ts";
import type { EndpointDocument } from "../../src/contract/control.ts";
import type { Issue } from "../../src/contract/errors.ts";
import type { EndpointManifest, FunctionManifest, Parameter } from "../../src/contract/manifest.ts";
import { resolveOptions } from "../../src/contract/options.ts";
import type { Route } from "../../src/contract/routes.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { compileSchema } from "../../src/contract/validator.ts";

const AUTH = '-H "Authorization: Bearer KEY"';
const JSON_TYPE = '-H "Content-Type: application/json"';

function parameter(name: string, schema: JsonSchema, more: Partial<Parameter> = {}): Parameter {
  return { name, schema, required: true, carrier: "value", ...more };
}

function callable(name: string, parameters: Parameter[], route?: Route): FunctionManifest {
  const signature = { name, parameters, streams: false, checked: true };
  return route === undefined ? signature : { ...signature, route };
}

function linesOf(
  kind: "qb" | "lb",
  functions: FunctionManifest[],
  form: EndpointManifest["form"] = kind === "qb" ? "function" : "routes",
): string[] {
  const manifest: EndpointManifest = {
    name: "e",
    kind,
    form,
    live: false,
    resource: "Endpoint",
    options: resolveOptions({ name: "e" }, kind, "e"),
    functions,
    files: [],
    calls: [],
    fingerprint: "",
    packages: {},
  };
  const document: EndpointDocument = { name: "e", kind, id: "abc", url: "http://h/e", routes: [] };
  return curlLines(document, manifest, "KEY");
}

describe("queue endpoints", () => {
  test("the body has the function's parameters", () => {
    const parameters = [
      parameter("prompt", { type: "string" }),
      parameter("steps", { type: "integer", default: 20 }, { required: false }),
    ];
    assert.deepEqual(linesOf("qb", [callable("f", parameters)]), [
      `curl -X POST http://h/e/runsync ${AUTH} ${JSON_TYPE} -d '{"input":{"prompt":"a red fox"}}'`,
    ]);
  });

  test("a class with several methods is told which one", () => {
    const methods = [callable("predict", []), callable("warm", [])];
    assert.match(linesOf("qb", methods, "class")[0] ?? "", /'\{"input":\{"method":"predict"\}\}'$/);
  });
});

describe("load-balanced endpoints", () => {
  test("/ping comes first, then every route with path, query and body", () => {
    const text: JsonSchema = { type: "string" };
    const number: JsonSchema = { type: "integer" };
    const lines = linesOf("lb", [
      callable("list", [parameter("page", number)], { method: "GET", path: "/users" }),
      callable("create", [parameter("name", text), parameter("email", text)], {
        method: "POST",
        path: "/users",
      }),
      callable("update", [parameter("user_id", number), parameter("name", text)], {
        method: "PUT",
        path: "/users/{user_id}",
      }),
      callable("remove", [parameter("user_id", number)], {
        method: "DELETE",
        path: "/users/{user_id}",
      }),
    ]);
    assert.deepEqual(lines, [
      `curl http://h/e/ping ${AUTH}`,
      `curl 'http://h/e/users?page=1' ${AUTH}`,
      `curl -X POST http://h/e/users ${AUTH} ${JSON_TYPE} -d '{"name":"Alice","email":"alice@example.com"}'`,
      `curl -X PUT http://h/e/users/1 ${AUTH} ${JSON_TYPE} -d '{"name":"Alice"}'`,
      `curl -X DELETE http://h/e/users/1 ${AUTH}`,
    ]);
  });

  test("bytes travel as a form", () => {
    const file = parameter("file", { type: "string" }, { carrier: "bytes" });
    const [, line] = linesOf("lb", [
      callable("upload", [file, parameter("title", { type: "string" })], {
        method: "POST",
        path: "/files",
      }),
    ]);
    assert.equal(line, `curl -X POST http://h/e/files ${AUTH} -F file=@file -F title=text`);
  });

  test("a value with quotes cannot break out of the shell's quotes", () => {
    const evil: JsonSchema = { type: "string", default: "it's; rm -rf $HOME" };
    const [, line] = linesOf("lb", [
      callable("f", [parameter("x", evil)], { method: "POST", path: "/x" }),
    ]);
    assert.match(line ?? "", /-d '\{"x":"it'\\''s; rm -rf \$HOME"\}'$/);
  });
});

test("samples satisfy their own schema", () => {
  const tree: JsonSchema = {
    $ref: "#/$defs/Tree",
    $defs: {
      Tree: {
        type: "object",
        properties: { value: { type: "integer" }, left: { $ref: "#/$defs/Tree" } },
        required: ["value"],
      },
    },
  };
  const schemas: JsonSchema[] = [
    {},
    tree,
    { type: "integer", minimum: 5 },
    { type: "number", exclusiveMinimum: 0, maximum: 0.5 },
    { type: "integer", minimum: 7, multipleOf: 5 },
    { type: "integer", maximum: -3 },
    { type: "string", minLength: 30 },
    { type: "string", maxLength: 2 },
    { type: "string", format: "date-time" },
    { type: "string", format: "uuid" },
    { type: "string", "x-flash-type": "bigint" },
    { enum: ["b", "a"] },
    { const: null },
    { anyOf: [{ type: "null" }, { type: "boolean" }] },
    { type: ["null", "string"] },
    { type: "array", items: { type: "integer" }, minItems: 2 },
    { type: "array", prefixItems: [{ type: "string" }, { type: "boolean" }], items: false },
    {
      type: "object",
      properties: { a: { type: "array", items: tree } },
      required: ["a"],
      $defs: tree.$defs ?? {},
    },
  ];
  for (const schema of schemas) {
    const value = sampleValue(schema, "value");
    const issues: Issue[] = [];
    compileSchema(schema)(value, "", issues);
    assert.deepEqual(issues, [], `${JSON.stringify(schema)} → ${JSON.stringify(value)}`);
  }
});
