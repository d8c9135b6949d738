import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Binder, type RequestParts } from "../../src/contract/binder.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { chooseFunction } from "../../src/contract/methods.ts";
import type { FunctionManifest, Parameter, Signature } from "../../src/contract/manifest.ts";
import type { HttpMethod, Route } from "../../src/contract/routes.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";

const STRING: JsonSchema = { type: "string" };
const NUMBER: JsonSchema = { type: "number" };
const USER: JsonSchema = {
  type: "object",
  properties: { name: STRING, age: NUMBER, tags: { type: "array", items: STRING } },
  required: ["name"],
};
const FILTER: JsonSchema = {
  type: "object",
  properties: { page: NUMBER, tags: { type: "array", items: STRING } },
};

function need(name: string, schema: JsonSchema = NUMBER, more: Partial<Parameter> = {}): Parameter {
  return { name, schema, required: true, carrier: "value", ...more };
}

function may(name: string, schema: JsonSchema = NUMBER): Parameter {
  return need(name, schema, { required: false });
}

function signature(...parameters: Parameter[]): Signature {
  return { parameters, streams: false, checked: true };
}

function route(method: HttpMethod, path = "/x"): Route {
  return { method, path };
}

function json(value: unknown, more: Partial<RequestParts> = {}): RequestParts {
  return { path: {}, query: new URLSearchParams(), body: { kind: "json", value }, ...more };
}

function query(text: string, more: Partial<RequestParts> = {}): RequestParts {
  return { path: {}, query: new URLSearchParams(text), body: { kind: "none" }, ...more };
}

function errorOf(run: () => unknown): FlashError {
  try {
    run();
  } catch (error) {
    assert.ok(FlashError.is(error), String(error));
    return error;
  }
  return assert.fail("nothing was thrown");
}

function issuesOf(run: () => unknown): string[] {
  return (errorOf(run).issues ?? []).map(({ path, message }) => `${path} ${message}`.trim());
}

describe("encoding a call", () => {
  const process = new Binder(signature(need("x"), need("y")), route("POST"));

  test("positional arguments become a JSON object by name", () => {
    assert.deepEqual(process.encode([5, 3]), {
      path: {},
      query: [],
      body: { kind: "json", value: { x: 5, y: 3 } },
    });
  });

  test("path parameters leave the body", () => {
    const binder = new Binder(
      signature(need("user_id"), may("name", STRING)),
      route("PUT", "/users/{user_id}"),
    );
    assert.deepEqual(binder.encode([1, "Ann"]), {
      path: { user_id: "1" },
      query: [],
      body: { kind: "json", value: { name: "Ann" } },
    });
    assert.deepEqual(binder.encode([1]).body, { kind: "json", value: {} });
  });

  test("GET and DELETE use the query, and repeat the key for arrays", () => {
    for (const method of ["GET", "DELETE"] as const) {
      const binder = new Binder(
        signature(need("q", STRING), need("ids", { type: "array", items: NUMBER })),
        route(method),
      );
      assert.deepEqual(binder.encode(["a b", [1, 2]]), {
        path: {},
        query: [
          ["q", "a b"],
          ["ids", "1"],
          ["ids", "2"],
        ],
        body: { kind: "none" },
      });
    }
  });

  test("a route without parameters has no body", () => {
    assert.deepEqual(new Binder(signature(), route("POST")).encode([]).body, { kind: "none" });
    const onlyPath = new Binder(signature(need("id")), route("POST", "/x/{id}"));
    assert.deepEqual(onlyPath.encode([1]).body, { kind: "none" });
  });

  test("surplus, missing and wrong arguments are named before anything is sent", () => {
    assert.equal(
      errorOf(() => process.encode([1, 2, 3])).message,
      "Too many arguments: expected at most 2, got 3.",
    );
    assert.deepEqual(
      issuesOf(() => process.encode([1])),
      ["y is required"],
    );
    assert.deepEqual(
      issuesOf(() => process.encode(["1", undefined])),
      ['x must be a number, got "1"', "y is required"],
    );
    assert.equal(errorOf(() => process.encode(["1", 2])).code, "INVALID_INPUT");
  });

  test("undefined is absent, null is a value", () => {
    const binder = new Binder(signature(need("x"), may("y")), route("POST"));
    assert.deepEqual(binder.encode([1, undefined]).body, { kind: "json", value: { x: 1 } });
    assert.deepEqual(
      issuesOf(() => binder.encode([1, null])),
      ["y must be a number, got null"],
    );
    const nullable = new Binder(signature(need("x", { type: ["number", "null"] })), route("POST"));
    assert.deepEqual(nullable.encode([null]).body, { kind: "json", value: { x: null } });
  });

  const unfit: [title: string, value: unknown, message: string][] = [
    [
      "NaN",
      { a: Number.NaN },
      "x.a is NaN, which JSON cannot carry; send null or a string instead",
    ],
    ["a Map", new Map(), "x is a Map, which JSON cannot carry; send a plain object instead"],
    ["a function", [() => 1], "x[0] is a function, which JSON cannot carry"],
    [
      "a bigint",
      1n,
      "x is a bigint, which JSON cannot carry; declare the type as bigint or send a string",
    ],
    [
      "a Date",
      { at: new Date(0) },
      "x.at is a Date, which JSON cannot carry; declare the type as Date or send toISOString()",
    ],
    [
      "a Set",
      new Set(),
      "x is a Set, which JSON cannot carry; declare the type as Set or send an array",
    ],
    [
      "bytes",
      Buffer.from("a"),
      "x is a Buffer, which JSON cannot carry; declare the type as Uint8Array",
    ],
    [
      "an instance",
      new (class Point {
        x = 1;
      })(),
      "x is a Point, which JSON cannot carry; send a plain object, or call the endpoint over HTTP yourself",
    ],
    [
      "undefined in an array",
      [1, undefined],
      "x[1] is undefined, which JSON cannot carry; send null instead",
    ],
    [
      "a hole in an array",
      Array(1),
      "x[0] is undefined, which JSON cannot carry; send null instead",
    ],
  ];
  for (const [title, value, message] of unfit) {
    test(`${title} is refused by name`, () => {
      const error = errorOf(() =>
        new Binder(signature(need("x", {})), route("POST")).encode([value]),
      );
      assert.equal(error.code, "NOT_SERIALIZABLE");
      assert.equal(error.message, `JSON serialization error: ${message}.`);
    });
  }

  test("cycles and bottomless values are refused, shared values are not", () => {
    const binder = new Binder(signature(need("x", {})), route("POST"));
    const loop: Record<string, unknown> = {};
    loop.self = { loop };
    assert.match(errorOf(() => binder.encode([loop])).message, /x\.self\.loop refers back/);
    let deep: unknown[] = [];
    for (let level = 0; level < 100_000; level++) deep = [deep];
    assert.match(errorOf(() => binder.encode([deep])).message, /nested deeper than 256 levels/);
    const endless = { toJSON: () => ({ ...endless }) };
    assert.match(errorOf(() => binder.encode([endless])).message, /nested deeper than 256 levels/);
    const shared = { a: 1 };
    assert.deepEqual(binder.encode([[shared, shared]]).body, {
      kind: "json",
      value: { x: [shared, shared] },
    });
  });

  test("a value that its type cannot tell from another is refused, not changed", () => {
    const either: JsonSchema = { anyOf: [STRING, { type: "string", "x-flash-type": "date" }] };
    const binder = new Binder(signature(need("x", either)), route("POST"));
    assert.deepEqual(binder.encode(["soon"]).body, { kind: "json", value: { x: "soon" } });
    const error = errorOf(() => binder.encode(["2026-01-31T00:00:00Z"]));
    assert.equal(error.code, "NOT_SERIALIZABLE");
    assert.match(error.message, /x would arrive as another type/);
  });

  test("what a path cannot hold is refused", () => {
    const binder = new Binder(signature(need("name", STRING)), route("GET", "/files/{name}"));
    assert.deepEqual(binder.encode(["a/b c"]).path, { name: "a/b c" });
    assert.deepEqual(
      issuesOf(() => binder.encode([""])),
      ["name must not be empty: it is in the path"],
    );
    assert.deepEqual(
      issuesOf(() => binder.encode([".."])),
      ['name must not be "..": URLs give it a meaning'],
    );
    assert.deepEqual(
      issuesOf(() => binder.encode(["\ud800"])),
      ["name holds half a surrogate pair, which a URL cannot carry"],
    );
  });

  test("an optional parameter in the path is still needed there", () => {
    const binder = new Binder(signature(may("id")), route("GET", "/x/{id}"));
    assert.deepEqual(
      issuesOf(() => binder.encode([])),
      ["id is required"],
    );
  });

  test("a Request parameter is for direct HTTP only", () => {
    const binder = new Binder(
      signature(need("request", {}, { carrier: "request" })),
      route("POST"),
    );
    assert.deepEqual(
      issuesOf(() => binder.encode([{}])),
      ["request is a Request: call this route over HTTP instead"],
    );
    const request = { any: "thing" };
    assert.deepEqual(binder.decode({ ...query(""), request }), [request]);
  });
});

describe("decoding a request", () => {
  const update = new Binder(
    signature(need("id"), may("name", STRING), may("tags", { type: "array", items: STRING })),
    route("PUT", "/users/{id}"),
  );

  test("the path is coerced and wins over a body key of the same name", () => {
    const parts = json({ id: "nonsense", name: "Ann" }, { path: { id: "7" } });
    assert.deepEqual(update.decode(parts), [7, "Ann", undefined]);
  });

  test("no body, a null body and {} are the same when all is optional", () => {
    const path = { id: "7" };
    for (const parts of [query("", { path }), json(null, { path }), json({}, { path })]) {
      assert.deepEqual(update.decode(parts), [7, undefined, undefined]);
    }
  });

  test("unknown body keys are refused by name, unknown query keys are ignored", () => {
    assert.deepEqual(
      issuesOf(() => update.decode(json({ nmae: "Ann" }, { path: { id: "7" } }))),
      ["nmae is not expected; known: name, tags"],
    );
    const search = new Binder(signature(need("q", STRING)), route("GET"));
    assert.deepEqual(search.decode(query("q=a&utm_source=b")), ["a"]);
    assert.deepEqual(
      update.decode(json({}, { path: { id: "7" }, query: new URLSearchParams("name=x") })),
      [7, undefined, undefined],
    );
  });

  test("a body that is no object is refused, every issue is reported at once", () => {
    assert.deepEqual(
      issuesOf(() => update.decode(json([1], { path: { id: "x" } }))),
      ["body must be an object of parameters, got [1]", 'id must be a number, got "x"'],
    );
    const error = errorOf(() => update.decode(json({ name: 5, tags: [1] }, { path: { id: "x" } })));
    assert.equal(
      error.message,
      'id must be a number, got "x"; name must be a string, got 5; tags[0] must be a string, got 1.',
    );
    assert.equal(error.status, 422);
  });

  test("a long list of mistakes is cut in the sentence, not in the issues", () => {
    const binder = new Binder(
      signature(need("x", { type: "array", items: NUMBER })),
      route("POST"),
    );
    const error = errorOf(() => binder.decode(json({ x: Array.from({ length: 20 }, () => "a") })));
    assert.equal(error.issues?.length, 20);
    assert.match(error.message, /; and 15 more\.$/);
  });

  test("GET ignores a body", () => {
    const binder = new Binder(signature(need("q", STRING)), route("GET"));
    assert.deepEqual(
      binder.decode(json({ q: "body" }, { query: new URLSearchParams("q=query") })),
      ["query"],
    );
  });

  test("DELETE takes a JSON body when there is one, else the query", () => {
    const binder = new Binder(
      signature(need("id"), may("force", { type: "boolean" })),
      route("DELETE", "/x/{id}"),
    );
    const path = { id: "1" };
    assert.deepEqual(binder.decode(query("force=true", { path })), [1, true]);
    assert.deepEqual(binder.decode(json({ force: true }, { path })), [1, true]);
    const both = json({}, { path, query: new URLSearchParams("force=true") });
    assert.deepEqual(binder.decode(both), [1, undefined]);
    assert.deepEqual(
      issuesOf(() => binder.decode(json({ froce: true }, { path }))),
      ["froce is not expected; known: force"],
    );
  });

  test("a repeated query key is an array, the last one counts otherwise", () => {
    const binder = new Binder(
      signature(need("ids", { type: "array", items: NUMBER }), may("q", STRING)),
      route("GET"),
    );
    assert.deepEqual(binder.decode(query("ids=1&ids=2&q=a&q=b")), [[1, 2], "b"]);
    assert.deepEqual(binder.decode(query("ids=1")), [[1], undefined]);
    assert.deepEqual(binder.decode(query("ids=[]")), [[], undefined]);
  });

  test("rest parameters are spread", () => {
    const parameters = [
      need("first", STRING),
      need("rest", { type: "array", items: NUMBER }, { rest: true }),
    ];
    const binder = new Binder(signature(...parameters), route("POST"));
    assert.deepEqual(binder.decode(json({ first: "a", rest: [1, 2] })), ["a", 1, 2]);
    assert.deepEqual(binder.decode(json({ first: "a" })), ["a"]);
    assert.deepEqual(binder.encode(["a", 1, 2]).body, {
      kind: "json",
      value: { first: "a", rest: [1, 2] },
    });
    assert.deepEqual(binder.encode(["a"]).body, { kind: "json", value: { first: "a" } });
  });

  test("keys of Object.prototype are neither found nor changed", () => {
    const names = ["__proto__", "constructor", "toString"];
    const binder = new Binder(signature(...names.map((name) => may(name, STRING))), route("POST"));
    assert.deepEqual(binder.decode(json({})), [undefined, undefined, undefined]);
    const hostile: unknown = JSON.parse('{"__proto__":"a","constructor":"b"}');
    assert.deepEqual(binder.decode(json(hostile)), ["a", "b", undefined]);
    assert.deepEqual(
      JSON.stringify(binder.encode(["a", "b", "c"]).body),
      '{"kind":"json","value":{"__proto__":"a","constructor":"b","toString":"c"}}',
    );
    const other = new Binder(signature(need("x")), route("POST"));
    assert.deepEqual(
      issuesOf(() => other.decode(json(JSON.parse('{"x":1,"__proto__":{"polluted":1}}')))),
      ["__proto__ is not expected; known: x"],
    );
    assert.equal(({} as { polluted?: number }).polluted, undefined);
    const inPath = new Binder(
      signature(need("constructor", STRING)),
      route("GET", "/x/{constructor}"),
    );
    assert.deepEqual(
      issuesOf(() => inPath.decode(query(""))),
      ["constructor is required"],
    );
  });
});

describe("one object parameter", () => {
  const create = new Binder(signature(need("user", USER)), route("POST", "/users"));
  const list = new Binder(signature(may("filter", FILTER)), route("GET", "/users"));

  test("it is the body itself", () => {
    assert.equal(create.single, "user");
    assert.deepEqual(create.encode([{ name: "Ann" }]).body, {
      kind: "json",
      value: { name: "Ann" },
    });
    assert.deepEqual(create.decode(json({ name: "Ann", age: 3 })), [{ name: "Ann", age: 3 }]);
    assert.deepEqual(create.bodySchema(), { ...USER, additionalProperties: false });
  });

  test("the wrapped form is a 422 whose hint shows the right one", () => {
    const error = errorOf(() => create.decode(json({ user: { name: "Ann" } })));
    assert.equal(error.code, "INVALID_INPUT");
    assert.deepEqual(
      error.issues?.map(({ path }) => path),
      ["user", "name"],
    );
    assert.equal(
      error.hint,
      `'user' is the only parameter, so the body is that object itself: send {"name":"Ann"}.`,
    );
    const optional = new Binder(signature(may("filter", FILTER)));
    assert.match(
      errorOf(() => optional.decodeInput({ filter: { page: 1 } })).hint ?? "",
      /so the input is that object itself/,
    );
  });

  test("unknown keys are refused; keys that a wider value has beside its type stay behind", () => {
    assert.deepEqual(
      issuesOf(() => create.decode(json({ name: "Ann", nmae: "x" }))),
      ["nmae is not expected; known: name, age, tags"],
    );
    const wider = { name: "Ann", password: "secret" };
    assert.deepEqual(create.encode([wider]).body, { kind: "json", value: { name: "Ann" } });
  });

  test("records take any key", () => {
    const binder = new Binder(
      signature(need("counts", { type: "object", additionalProperties: NUMBER })),
      route("POST"),
    );
    assert.deepEqual(binder.decode(json({ a: 1, counts: 2 })), [{ a: 1, counts: 2 }]);
  });

  test("on GET its properties are the query; other keys are somebody else's", () => {
    assert.deepEqual(list.encode([{ page: 2, tags: ["a", "b"] }]).query, [
      ["page", "2"],
      ["tags", "a"],
      ["tags", "b"],
    ]);
    assert.deepEqual(list.decode(query("page=2&tags=a&utm_source=x")), [{ page: 2, tags: ["a"] }]);
    assert.deepEqual(
      issuesOf(() => list.decode(query("page=two"))),
      ['page must be a number, got "two"'],
    );
  });

  test("an optional one is absent without a body; a required one is {}", () => {
    assert.deepEqual(list.decode(query("")), [undefined]);
    assert.deepEqual(list.encode([]), { path: {}, query: [], body: { kind: "none" } });
    const required = new Binder(signature(need("filter", FILTER)), route("POST"));
    assert.deepEqual(required.decode(query("")), [{}]);
    assert.deepEqual(
      issuesOf(() => create.decode(query(""))),
      ["name is required"],
    );
  });

  test("a body key that names a path parameter is ignored, unless the type has it", () => {
    const binder = new Binder(
      signature(need("id"), need("user", USER)),
      route("PUT", "/users/{id}"),
    );
    assert.deepEqual(binder.decode(json({ id: 9, name: "Ann" }, { path: { id: "7" } })), [
      7,
      { name: "Ann" },
    ]);
    const named = new Binder(
      signature(need("name", STRING), need("user", USER)),
      route("PUT", "/users/{name}"),
    );
    assert.deepEqual(named.decode(json({ name: "Ann" }, { path: { name: "Bob" } })), [
      "Bob",
      { name: "Ann" },
    ]);
  });

  test("a body that is no object is said to be none", () => {
    assert.deepEqual(
      issuesOf(() => create.decode(json("Ann"))),
      ['must be an object, got "Ann"'],
    );
  });

  test("arrays, unions with null, rest and two parameters are not the body", () => {
    const others: Parameter[][] = [
      [need("x", { type: "array" })],
      [need("x", { anyOf: [USER, { type: "null" }] })],
      [need("x", { type: "array", items: USER }, { rest: true })],
      [need("x", USER), may("y")],
      [need("x", { type: "string", "x-flash-type": "date" })],
    ];
    for (const parameters of others)
      assert.equal(new Binder(signature(...parameters)).single, undefined);
  });
});

describe("queue inputs", () => {
  const binder = new Binder(signature(need("text", STRING), may("depth")));

  test("parameters by name; nothing is {}", () => {
    assert.deepEqual(binder.encodeInput(["a", 2]), { text: "a", depth: 2 });
    assert.deepEqual(binder.decodeInput({ text: "a" }), ["a", undefined]);
    const none = new Binder(signature());
    assert.deepEqual(none.encodeInput([]), {});
    for (const input of [undefined, null, {}, { __empty: true }])
      assert.deepEqual(none.decodeInput(input), []);
    assert.equal(none.bodySchema(), undefined);
  });

  test("what is wrong is told without throwing", () => {
    assert.deepEqual(binder.checkInput({ text: "a" }), []);
    assert.deepEqual(binder.checkInput({ txt: "a" }), [
      { path: "txt", message: "is not expected; known: text, depth" },
      { path: "text", message: "is required" },
    ]);
    assert.deepEqual(binder.checkInput("a"), [
      { path: "", message: 'input must be an object of parameters, got "a"' },
      { path: "text", message: "is required" },
    ]);
  });

  test("an input wrapped twice is pointed out", () => {
    assert.equal(
      errorOf(() => binder.decodeInput({ input: { text: "a" } })).hint,
      'The input holds the parameters themselves: send {"text":"a"}.',
    );
  });

  test("bytes travel as base64", async () => {
    const bytes = new Binder(
      signature(
        need(
          "data",
          { type: "string", format: "binary", "x-flash-type": "bytes" },
          { carrier: "bytes" },
        ),
      ),
    );
    assert.deepEqual(bytes.encodeInput([new Uint8Array([1, 2, 255])]), { data: "AQL/" });
    assert.deepEqual(bytes.decodeInput({ data: "AQL/" }), [new Uint8Array([1, 2, 255])]);
    assert.deepEqual(bytes.checkInput({ data: "%" }), [
      { path: "data", message: "must be base64 text" },
    ]);
    const file = new Binder(
      signature(need("data", { type: "string", format: "binary" }, { carrier: "bytes" })),
    );
    const [received] = await file.receive(json({ data: "AQL/" }));
    assert.ok(received instanceof File);
  });

  test("the description of the body keeps two types of one name apart", () => {
    const first: JsonSchema = {
      $ref: "#/$defs/User",
      $defs: { User: { type: "object", properties: { a: STRING } } },
    };
    const second: JsonSchema = {
      $ref: "#/$defs/User",
      $defs: { User: { type: "object", properties: { b: STRING } } },
    };
    const schema = new Binder(
      signature(need("x", first), need("y", second), need("z", first)),
    ).bodySchema();
    assert.deepEqual(schema?.properties, {
      x: { $ref: "#/$defs/User" },
      y: { $ref: "#/$defs/User2" },
      z: { $ref: "#/$defs/User" },
    });
    assert.deepEqual(Object.keys(schema?.$defs ?? {}), ["User", "User2"]);
  });
});

describe("multipart forms", () => {
  const FILE: JsonSchema = { type: "string", format: "binary" };
  const upload = new Binder(
    signature(
      need("file", { ...FILE, "x-flash-type": "bytes" }, { carrier: "bytes" }),
      need("size"),
      may("tags", { type: "array", items: STRING }),
    ),
    route("POST"),
  );
  const form = (...fields: [string, string | Blob][]): RequestParts => ({
    ...query(""),
    body: { kind: "form", fields },
  });

  test("files and fields go out and come in", async () => {
    const bytes = new Uint8Array([1, 2]);
    const { body } = upload.encode([bytes, 3, ["a", "b"]]);
    assert.deepEqual(body, {
      kind: "form",
      fields: [
        ["file", bytes],
        ["size", "3"],
        ["tags", "a"],
        ["tags", "b"],
      ],
    });
    const received = await upload.receive(
      form(["file", new Blob([bytes])], ["size", "3"], ["tags", "a"]),
    );
    assert.deepEqual(received, [bytes, 3, ["a"]]);
  });

  test("several files of one name are a list", async () => {
    const many = new Binder(
      signature(need("files", { type: "array", items: FILE }, { carrier: "bytes" })),
      route("POST"),
    );
    const [files] = (await many.receive(
      form(["files", new Blob(["a"])], ["files", new Blob(["b"])]),
    )) as [Blob[]];
    assert.deepEqual(await Promise.all(files.map((file) => file.text())), ["a", "b"]);
    assert.equal(many.encode([[new Blob(["a"]), new Blob(["b"])]]).body.kind, "form");
  });

  test("text is taken as a file that holds it; base64 in JSON is bytes as well", async () => {
    assert.deepEqual(
      (await upload.receive(form(["file", "hi"], ["size", "1"])))[0],
      new Uint8Array([104, 105]),
    );
    assert.deepEqual(await upload.receive(json({ file: "aGk=", size: 1 })), [
      new Uint8Array([104, 105]),
      1,
      undefined,
    ]);
  });

  test("what is missing, unknown or of the wrong kind is named", () => {
    assert.deepEqual(
      issuesOf(() => upload.decode(form(["size", "x"], ["what", "y"]))),
      [
        "what is not expected; known: file, size, tags",
        "file is required",
        'size must be a number, got "x"',
      ],
    );
    assert.deepEqual(
      issuesOf(() => upload.decode(form(["file", "a"], ["size", new Blob(["1"])]))),
      ["size must be a text field, not a file", "size is required"],
    );
    assert.deepEqual(
      issuesOf(() => upload.decode(json({ file: 5, size: 1 }))),
      ["file must be base64 text, got 5"],
    );
    assert.deepEqual(
      issuesOf(() => upload.encode(["text", 1])),
      ["file must be bytes or a file"],
    );
  });

  test("a form without files fills named parameters and the one object", () => {
    const named = new Binder(signature(need("x"), may("y")), route("POST"));
    assert.deepEqual(named.decode(form(["x", "1"])), [1, undefined]);
    const single = new Binder(signature(need("user", USER)), route("POST"));
    assert.deepEqual(single.decode(form(["name", "Ann"], ["age", "3"])), [{ name: "Ann", age: 3 }]);
  });
});

describe("several methods behind one queue endpoint", () => {
  const method = (name: string, ...parameters: Parameter[]): FunctionManifest => ({
    name,
    ...signature(...parameters),
  });
  const functions = [
    method("predict", need("prompt", STRING)),
    method("embed", need("text", STRING)),
  ];

  test("input.method chooses, and is not handed on", () => {
    const { fn, input } = chooseFunction(functions, { method: "embed", text: "a" }, "Model");
    assert.equal(fn.name, "embed");
    assert.deepEqual(input, { text: "a" });
  });

  test("a missing or unknown method is refused with the list", () => {
    assert.equal(
      errorOf(() => chooseFunction(functions, { text: "a" }, "Model")).message,
      'class Model has multiple methods: embed, predict. include a "method" key in the input.',
    );
    for (const wrong of ["constructor", "__proto__", "toString", 5]) {
      const error = errorOf(() => chooseFunction(functions, { method: wrong }, "Model"));
      assert.equal(error.message, `unknown method '${wrong}' on Model. available: embed, predict`);
    }
    const inherited = Object.create({ method: "embed" }) as object;
    assert.match(
      errorOf(() => chooseFunction(functions, inherited, "Model")).message,
      /^class Model has/,
    );
  });

  test("a single method needs no name, and may have a parameter called method", () => {
    const [only] = functions;
    assert.deepEqual(chooseFunction([only as FunctionManifest], { prompt: "a" }, "Model").input, {
      prompt: "a",
    });
    assert.deepEqual(
      chooseFunction([only as FunctionManifest], { method: "predict", prompt: "a" }, "Model").input,
      { prompt: "a" },
    );
    const own = method("call", need("method", STRING));
    assert.deepEqual(chooseFunction([own], { method: "call" }, "Model").input, { method: "call" });
  });
});
