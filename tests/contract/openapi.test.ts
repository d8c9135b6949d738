import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { Binder } from "../../src/contract/binder.ts";
import type { EndpointManifest, FunctionManifest, Parameter } from "../../src/contract/manifest.ts";
import { openApiOf, type OpenApiDocument, type OpenApiObject } from "../../src/contract/openapi.ts";
import { resolveOptions } from "../../src/contract/options.ts";
import type { Route } from "../../src/contract/routes.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { Validator } from "@seriousme/openapi-schema-validator";
import { STRUCTURE } from "./openapi-structure.ts";

const STRING: JsonSchema = { type: "string" };
const NUMBER: JsonSchema = { type: "number" };
const USER: JsonSchema = {
  $ref: "#/$defs/User",
  $defs: {
    User: {
      type: "object",
      properties: {
        name: STRING,
        born: { type: "string", format: "date-time", "x-flash-type": "date" },
        friends: { type: "array", items: { $ref: "#/$defs/User" } },
      },
      required: ["name"],
    },
  },
};

function parameter(name: string, schema: JsonSchema, more: Partial<Parameter> = {}): Parameter {
  return { name, schema, required: true, carrier: "value", ...more };
}

function fn(name: string, more: Partial<FunctionManifest> = {}): FunctionManifest {
  return { name, parameters: [], streams: false, checked: true, ...more };
}

function endpoint(
  name: string,
  kind: "qb" | "lb",
  functions: FunctionManifest[],
  form: EndpointManifest["form"] = kind === "lb" ? "routes" : "function",
): EndpointManifest {
  return {
    name,
    kind,
    form,
    live: false,
    resource: "Endpoint",
    options: resolveOptions({}, kind, name),
    functions,
    files: [],
    calls: [],
    fingerprint: "f",
    packages: {},
  };
}

const route = (method: Route["method"], path: string): Route => ({ method, path });

const users = endpoint("user-service", "lb", [
  fn("listUsers", {
    route: route("GET", "/users"),
    summary: "All users.",
    description: "All users.\n\nPage by page.",
    parameters: [
      parameter("tags", { type: "array", items: STRING }, { required: false }),
      parameter("near", { type: "object", properties: { x: NUMBER } }),
    ],
    returns: { type: "array", items: USER.$defs?.User as JsonSchema, $defs: USER.$defs as never },
  }),
  fn("createUser", {
    route: route("POST", "/users"),
    parameters: [parameter("user", USER)],
    returns: USER,
  }),
  fn("getUser", {
    route: route("GET", "/users/{user_id}"),
    parameters: [parameter("user_id", NUMBER, { description: "The id." })],
  }),
  fn("updateUser", {
    route: route("PUT", "/users/{id}"),
    parameters: [
      parameter("id", NUMBER),
      parameter("name", { ...STRING, default: "x" }, { required: false, description: "New name." }),
      parameter("boss", USER, { required: false }),
    ],
  }),
  fn("deleteUser", {
    route: route("DELETE", "/users/{user_id}"),
    parameters: [
      parameter("user_id", NUMBER),
      parameter("force", { type: "boolean" }, { required: false }),
    ],
  }),
  fn("search", {
    route: route("GET", "/search"),
    parameters: [
      parameter("query", {
        type: "object",
        properties: { q: { ...STRING, description: "Words." }, page: NUMBER },
        required: ["q"],
      }),
    ],
  }),
  fn("find", {
    route: route("GET", "/find"),
    parameters: [parameter("by", { type: "object", additionalProperties: STRING })],
  }),
  fn("upload", {
    route: route("POST", "/files"),
    parameters: [
      parameter("file", { type: "string", format: "binary" }, { carrier: "bytes" }),
      parameter("more", { type: "array", items: {} }, { carrier: "bytes", rest: true }),
      parameter("title", STRING, { required: false }),
    ],
  }),
  fn("events", { route: route("GET", "/events"), streams: true, returns: STRING }),
  fn("raw", {
    route: route("POST", "/raw"),
    parameters: [parameter("request", {}, { carrier: "request" })],
  }),
]);

const analyze = endpoint("analyze", "qb", [
  fn("analyze", {
    summary: "Scores a text.",
    parameters: [parameter("text", STRING), parameter("depth", NUMBER, { required: false })],
    returns: USER,
  }),
]);

const model = endpoint(
  "model",
  "qb",
  [
    fn("predict", { parameters: [parameter("prompt", STRING)] }),
    fn("embed", { parameters: [parameter("user", USER)] }),
    fn("reset"),
  ],
  "class",
);

const image = endpoint("vllm", "qb", [], "image");

const all = [users, analyze, model, image];
const app = (): OpenApiDocument =>
  openApiOf(all, {
    title: "app",
    version: "1",
    servers: [{ url: "http://localhost:8888" }],
    prefix: ({ name }) => `/${name}`,
  });
const own = openApiOf([users], { title: "user-service", version: "1" });

/** The value at a JSON pointer of the document. */
function at(document: OpenApiDocument, pointer: string): unknown {
  let value: unknown = document;
  for (const part of pointer.split("/").slice(1)) {
    const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    value = (value as Record<string, unknown> | undefined)?.[key];
  }
  return value;
}

function operation(document: OpenApiDocument, method: string, path: string): OpenApiObject {
  const found = document.paths[path]?.[method];
  assert.ok(found !== undefined, `${method} ${path} in ${Object.keys(document.paths).join(", ")}`);
  return found;
}

function bodySchema(document: OpenApiDocument, method: string, path: string): unknown {
  const { requestBody } = operation(document, method, path) as {
    requestBody?: { content: Record<string, { schema?: unknown }> };
  };
  return Object.values(requestBody?.content ?? {})[0]?.schema;
}

function* nodes(value: unknown): Generator<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield value as Record<string, unknown>;
  for (const part of Object.values(value)) yield* nodes(part);
}

describe("the document as a whole", () => {
  for (const [title, document] of [
    ["of a whole app", app()],
    ["of one endpoint", own],
    ["of nothing", openApiOf([], { title: "empty", version: "1" })],
    ["of a queue endpoint", openApiOf([analyze], { title: "analyze", version: "1" })],
  ] as const) {
    test(`${title} has the structure of OpenAPI 3.1`, () => {
      const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
      const isValid = ajv.validate(STRUCTURE, document);
      assert.ok(isValid, ajv.errorsText(ajv.errors, { separator: "\n" }));
    });

    test(`${title} passes an independent validator of OpenAPI 3.1`, async () => {
      const { valid, errors } = await new Validator().validate(structuredClone(document));
      assert.ok(valid, JSON.stringify(errors, null, 1));
    });

    test(`${title}: every reference leads somewhere, no definitions are left behind`, () => {
      for (const node of nodes(document)) {
        if (typeof node.$ref === "string") {
          assert.match(node.$ref, /^#\/components\/(schemas|responses)\//);
          assert.notEqual(at(document, node.$ref), undefined, node.$ref);
        }
        assert.equal(node.$defs, undefined);
      }
    });

    test(`${title}: the parameters of a path are exactly those declared`, () => {
      for (const [path, item] of Object.entries(document.paths)) {
        const named = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);
        for (const operation of Object.values(item)) {
          const parameters = (operation.parameters ?? []) as OpenApiObject[];
          const declared = parameters.filter((one) => one.in === "path");
          assert.deepEqual(new Set(declared.map(({ name }) => name)), new Set(named), path);
          const keys = parameters.map((one) => `${String(one.in)} ${String(one.name)}`);
          assert.equal(new Set(keys).size, keys.length);
        }
      }
    });

    test(`${title}: every schema in it compiles`, () => {
      const ajv = new Ajv2020({ strict: false, validateFormats: false });
      ajv.addSchema(document, "doc");
      for (const name of Object.keys(document.components.schemas)) {
        assert.ok(ajv.getSchema(`doc#/components/schemas/${name}`) !== undefined, name);
      }
    });
  }

  test("the same endpoints give the same bytes", () => {
    assert.equal(JSON.stringify(app()), JSON.stringify(app()));
  });

  test("operation ids are unique and safe as names", () => {
    const ids = Object.values(app().paths).flatMap((item) =>
      Object.values(item).map(({ operationId }) => String(operationId)),
    );
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[\w.-]+$/);
    assert.ok(ids.includes("user-service_listUsers"));
    assert.equal(operation(own, "get", "/users").operationId, "listUsers");
    const twins = endpoint("t", "lb", [
      fn("GET /a b", { route: route("GET", "/a") }),
      fn("GET_/a", { route: route("GET", "/b") }),
      fn("GET_/a", { route: route("GET", "/c") }),
    ]);
    const document = openApiOf([twins], { title: "t", version: "1" });
    const found = ["/a", "/b", "/c"].map((path) => operation(document, "get", path).operationId);
    assert.equal(new Set(found).size, 3);
  });

  test("a key is needed, unless the server is open", () => {
    assert.deepEqual(own.security, [{ bearer: [] }]);
    const open = openApiOf([users], { title: "t", version: "1", isOpen: true });
    assert.equal(open.security, undefined);
    assert.equal(open.components.securitySchemes, undefined);
  });

  test("types of one name that differ are two, the same type is one; ours keep their names", () => {
    const other = endpoint("other", "lb", [
      fn("a", {
        route: route("POST", "/a"),
        parameters: [
          parameter("x", { $ref: "#/$defs/User", $defs: { User: { type: "number" } } }),
          parameter("y", { $ref: "#/$defs/Problem", $defs: { Problem: { type: "number" } } }),
          parameter("z", { $ref: "#/$defs/Page%3CUser%3E", $defs: { "Page<User>": NUMBER } }),
        ],
      }),
    ]);
    const { schemas } = openApiOf([users, other], { title: "t", version: "1" }).components;
    assert.deepEqual(Object.keys(schemas), ["Page_User_", "Problem", "Problem2", "User", "User2"]);
    assert.deepEqual(schemas.User2, { type: "number" });
    assert.deepEqual(schemas.User, {
      ...USER.$defs?.User,
      properties: {
        ...USER.$defs?.User?.properties,
        friends: { type: "array", items: { $ref: "#/components/schemas/User" } },
      },
    });
  });
});

describe("routes", () => {
  test("carry summary and description", () => {
    const { summary, description, tags } = operation(own, "get", "/users");
    assert.deepEqual(
      [summary, description, tags],
      ["All users.", "All users.\n\nPage by page.", ["user-service"]],
    );
  });

  test("query parameters: arrays repeat, objects are JSON text", () => {
    assert.deepEqual(operation(own, "get", "/users").parameters, [
      { name: "tags", in: "query", required: false, schema: { type: "array", items: STRING } },
      {
        name: "near",
        in: "query",
        required: true,
        content: {
          "application/json": { schema: { type: "object", properties: { x: NUMBER } } },
        },
      },
    ]);
  });

  test("one object parameter is the body, or the query", () => {
    assert.deepEqual(bodySchema(own, "post", "/users"), {
      $ref: "#/components/schemas/User",
      propertyNames: { enum: ["name", "born", "friends"] },
    });
    assert.deepEqual(operation(own, "get", "/search").parameters, [
      {
        name: "q",
        in: "query",
        required: true,
        description: "Words.",
        schema: { ...STRING, description: "Words." },
      },
      { name: "page", in: "query", required: false, schema: NUMBER },
    ]);
    assert.deepEqual(operation(own, "get", "/find").parameters, [
      {
        name: "by",
        required: false,
        in: "query",
        style: "form",
        explode: true,
        schema: { type: "object", additionalProperties: STRING },
      },
    ]);
    assert.equal(operation(own, "get", "/search").requestBody, undefined);
  });

  test("named parameters are a closed object", () => {
    assert.deepEqual(operation(own, "put", "/users/{user_id}").requestBody, {
      required: false,
      content: {
        "application/json": {
          example: { name: "x", boss: { name: "Alice" } },
          schema: {
            type: "object",
            properties: {
              name: { ...STRING, default: "x", description: "New name." },
              boss: { $ref: "#/components/schemas/User" },
            },
            required: [],
            additionalProperties: false,
          },
        },
      },
    });
  });

  test("paths that differ in parameter names only are one path", () => {
    assert.deepEqual(Object.keys(own.paths["/users/{user_id}"] ?? {}), ["get", "put", "delete"]);
    const [first] = operation(own, "put", "/users/{user_id}").parameters as OpenApiObject[];
    assert.equal(first?.name, "user_id");
    assert.equal(own.paths["/users/{id}"], undefined);
  });

  test("DELETE is described with its query", () => {
    const { parameters, requestBody } = operation(own, "delete", "/users/{user_id}");
    assert.deepEqual(
      (parameters as OpenApiObject[]).map(({ name }) => name),
      ["user_id", "force"],
    );
    assert.equal(requestBody, undefined);
  });

  test("files are multipart form data", () => {
    assert.deepEqual(operation(own, "post", "/files").requestBody, {
      required: true,
      content: {
        "multipart/form-data": {
          schema: {
            type: "object",
            properties: {
              file: { type: "string", format: "binary" },
              more: { type: "array", items: { type: "string", format: "binary" } },
              title: STRING,
            },
            required: ["file"],
          },
        },
      },
    });
  });

  test("a raw request takes any body", () => {
    assert.deepEqual(operation(own, "post", "/raw").requestBody, { content: { "*/*": {} } });
  });

  test("results, streams and problems", () => {
    const contentOf = (path: string): unknown =>
      (operation(own, "get", path).responses as Record<string, OpenApiObject>)["200"]?.content;
    assert.deepEqual(contentOf("/events"), { "text/event-stream": { schema: STRING } });
    assert.deepEqual(contentOf("/users/{user_id}"), { "application/json": { schema: {} } });
    const { responses } = operation(own, "get", "/users");
    assert.deepEqual(Object.keys(responses as object).sort(), ["200", "422", "4XX", "500"]);
    assert.deepEqual(at(own, "#/components/responses/InvalidInput"), {
      description: "The input does not match the function",
      content: {
        "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
      },
    });
  });

  test("rich values keep their mark", () => {
    const born = (own.components.schemas.User?.properties ?? {}).born;
    assert.equal(born?.["x-flash-type"], "date");
  });
});

describe("queue endpoints", () => {
  const document = app();

  test("have the operations of the job API under their prefix", () => {
    const paths = Object.entries(document.paths)
      .filter(([path]) => path.startsWith("/analyze/"))
      .map(([path, item]) => `${Object.keys(item).join()} ${path}`);
    assert.deepEqual(paths, [
      "post /analyze/run",
      "post /analyze/runsync",
      "get /analyze/status/{job_id}",
      "post /analyze/cancel/{job_id}",
      "get /analyze/stream/{job_id}",
      "get /analyze/health",
    ]);
  });

  function inputOf(name: string): unknown {
    const schema = bodySchema(document, "post", `/${name}/run`) as OpenApiObject;
    return (schema.properties as Record<string, unknown>).input;
  }

  test("take the parameters as input", () => {
    assert.deepEqual(inputOf("analyze"), {
      type: "object",
      properties: { text: STRING, depth: NUMBER },
      required: ["text"],
      additionalProperties: false,
    });
    assert.deepEqual(inputOf("vllm"), { type: "object" });
  });

  test("of a class with several methods take one of them, named by method", () => {
    const { oneOf } = inputOf("model") as { oneOf: JsonSchema[] };
    assert.deepEqual(
      oneOf.map(({ properties, required }) => [properties?.method, required]),
      [
        [{ const: "predict" }, ["method", "prompt"]],
        [{ const: "embed" }, ["method", "name"]],
        [{ const: "reset" }, ["method"]],
      ],
    );
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(document, "doc");
    const check = ajv.compile({
      $ref: "doc#/paths/~1model~1run/post/requestBody/content/application~1json/schema",
    });
    assert.equal(check({ input: { method: "predict", prompt: "a" } }), true);
    assert.equal(check({ input: { method: "embed", name: "a" } }), true);
    assert.equal(check({ input: { method: "reset" } }), true);
    assert.equal(check({ input: { method: "embed", prompt: "a" } }), false);
    assert.equal(check({ input: { method: "other" } }), false);
    assert.equal(check({ input: { prompt: "a" } }), false);
  });

  test("answer with the job, whose output is the result once it is completed", () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(document, "doc");
    const check = ajv.compile({
      $ref: "doc#/paths/~1analyze~1runsync/post/responses/200/content/application~1json/schema",
    });
    assert.equal(check({ id: "a", status: "COMPLETED", output: { name: "Ann" } }), true);
    assert.equal(check({ id: "a", status: "IN_PROGRESS", output: 50 }), true);
    assert.equal(check({ id: "a", status: "COMPLETED", output: 50 }), false);
    assert.equal(check({ id: "a", status: "DONE" }), false);
  });
});

test("a job's body carries an example that the function accepts", () => {
  const document = openApiOf([analyze], { title: "analyze", version: "1" });
  const place = "#/paths/~1run/post/requestBody/content/application~1json";
  const { example } = at(document, place) as { example: { input: unknown } };
  const [scores] = analyze.functions;
  assert.ok(scores !== undefined);
  assert.deepEqual(new Binder(scores).checkInput(example.input), []);
});
