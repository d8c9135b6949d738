import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { Binder, type EncodedCall, type RequestParts } from "../../src/contract/binder.ts";
import { fromText, fromTexts, toText, toTexts } from "../../src/contract/carry.ts";
import { FlashError } from "../../src/contract/errors.ts";
import type { Parameter } from "../../src/contract/manifest.ts";
import { RouteTable, fillPath, type HttpMethod, type Route } from "../../src/contract/routes.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { anyType, objectType, text, type TypeAndValues } from "./arbitrary-types.ts";

/** A parameter of a generated type and one argument for it. */
interface Argument {
  parameter: Parameter;
  value: unknown;
}

function argumentOf(
  name: string,
  isRequired: boolean,
): (type: TypeAndValues) => fc.Arbitrary<Argument> {
  return ({ schema, values }) =>
    (isRequired ? values : fc.option(values, { nil: undefined })).map((value) => ({
      parameter: { name, schema, required: isRequired, carrier: "value" },
      value,
    }));
}

const call: fc.Arbitrary<Argument[]> = fc.tuple(
  anyType.chain(argumentOf("first", true)),
  anyType.chain(argumentOf("second", false)),
  anyType.chain(argumentOf("constructor", false)),
);

const RUNS = { numRuns: 400 };

/** Over the wire as text, as any HTTP client and server would carry it. */
function travel({ path, query, body }: EncodedCall, route: Route): RequestParts {
  const table = new RouteTable<true>();
  table.add(route, true);
  const search = new URLSearchParams(query).toString();
  const url = new URL(`http://localhost${fillPath(route.path, path)}?${search}`);
  const found = table.find(route.method, url.pathname);
  assert.equal(found.kind, "match");
  const params = found.kind === "match" ? found.params : {};
  if (body.kind === "form") throw new Error("no files here");
  return {
    path: params,
    query: url.searchParams,
    body:
      body.kind === "none"
        ? body
        : { kind: "json", value: JSON.parse(JSON.stringify(body.value)) as unknown },
  };
}

/** Encoded, or refused before anything is sent because the type cannot tell its values apart. */
function encoded<T>(encode: () => T): T | undefined {
  try {
    return encode();
  } catch (error) {
    assert.ok(FlashError.is(error), String(error));
    const isHonest = (error.issues ?? []).every(({ message }) =>
      /would arrive as another type|half a surrogate pair|must not be empty|must not be "\.|must differ/.test(
        message,
      ),
    );
    assert.ok(isHonest, error.message);
    return undefined;
  }
}

function trimmed(args: readonly unknown[]): unknown[] {
  const last = args.findLastIndex((value) => value !== undefined);
  return args.slice(0, last + 1);
}

function roundTrip(route: Route, call: readonly Argument[]): void {
  const binder = new Binder(
    { parameters: call.map(({ parameter }) => parameter), streams: false, checked: true },
    route,
  );
  const args = call.map(({ value }) => value);
  const sent = encoded(() => binder.encode(args));
  if (sent === undefined) return;
  assert.deepEqual(trimmed(binder.decode(travel(sent, route))), trimmed(args));
}

describe("what is sent is what arrives", () => {
  for (const method of ["POST", "PUT", "PATCH"] satisfies HttpMethod[]) {
    test(`in the JSON body of ${method}`, () => {
      fc.assert(
        fc.property(call, (args) => roundTrip({ method, path: "/x" }, args)),
        RUNS,
      );
    });
  }

  for (const method of ["GET", "DELETE"] satisfies HttpMethod[]) {
    test(`in the query of ${method}`, () => {
      fc.assert(
        fc.property(call, (args) => roundTrip({ method, path: "/x" }, args)),
        RUNS,
      );
    });
  }

  test("in the path, beside others in query and body", () => {
    for (const method of ["GET", "POST"] satisfies HttpMethod[]) {
      fc.assert(
        fc.property(call, (args) => roundTrip({ method, path: "/a/{first}/b" }, args)),
        RUNS,
      );
    }
  });

  test("as the one object that is the body or the query", () => {
    const single = objectType.chain(argumentOf("only", true));
    for (const method of ["POST", "GET", "DELETE"] satisfies HttpMethod[]) {
      fc.assert(
        fc.property(single, (argument) => roundTrip({ method, path: "/x" }, [argument])),
        RUNS,
      );
    }
  });

  test("in the input of a queue endpoint", () => {
    const check = (call: readonly Argument[]): void => {
      const binder = new Binder({
        parameters: call.map(({ parameter }) => parameter),
        streams: false,
        checked: true,
      });
      const args = call.map(({ value }) => value);
      const input = encoded(() => binder.encodeInput(args));
      if (input === undefined) return;
      const arrived: unknown = JSON.parse(JSON.stringify(input));
      assert.deepEqual(trimmed(binder.decodeInput(arrived)), trimmed(args));
      assert.deepEqual(binder.checkInput(arrived), []);
    };
    fc.assert(fc.property(call, check), RUNS);
    fc.assert(
      fc.property(objectType.chain(argumentOf("only", true)), (argument) => check([argument])),
      RUNS,
    );
  });

  test("as rest parameters", () => {
    const rest = anyType.chain(({ schema, values }) =>
      fc.tuple(fc.constant(schema), fc.array(values, { maxLength: 3 })),
    );
    fc.assert(
      fc.property(rest, ([items, values]) => {
        const parameters: Parameter[] = [
          { name: "head", schema: { type: "string" }, required: true, carrier: "value" },
          {
            name: "tail",
            schema: { type: "array", items },
            required: false,
            rest: true,
            carrier: "value",
          },
        ];
        for (const method of ["GET", "POST"] satisfies HttpMethod[]) {
          const route: Route = { method, path: "/x" };
          const binder = new Binder({ parameters, streams: false, checked: true }, route);
          const sent = encoded(() => binder.encode(["h", ...values]));
          if (sent === undefined) continue;
          assert.deepEqual(binder.decode(travel(sent, route)), ["h", ...values]);
        }
      }),
      RUNS,
    );
  });
});

describe("text that could mean two things", () => {
  const cases: [schema: JsonSchema, value: unknown, text: string][] = [
    [{ type: ["string", "number"] }, "5", '"5"'],
    [{ type: ["string", "number"] }, 5, "5"],
    [{ type: ["string", "number"] }, "007", "007"],
    [{ type: ["string", "number"] }, "12345678901234567890", "12345678901234567890"],
    [{ type: ["string", "number"] }, '"5"', '"\\"5\\""'],
    [{ type: ["string", "boolean"] }, "true", '"true"'],
    [{ type: ["string", "null"] }, null, "null"],
    [{ type: ["string", "null"] }, "null", '"null"'],
    [{ enum: ["1", 2] }, "1", "1"],
    [{ enum: ["1", 2] }, 2, "2"],
    [{ type: "string" }, "5", "5"],
    [{ type: "string" }, "", ""],
    [{ anyOf: [{ type: "string" }, { type: "object" }] }, '{"a":1}', '"{\\"a\\":1}"'],
    [{}, "5", "5"],
  ];
  for (const [schema, value, wanted] of cases) {
    test(`${JSON.stringify(value)} under ${JSON.stringify(schema)} is written ${wanted}`, () => {
      assert.equal(toText(value, schema), wanted);
      assert.deepEqual(fromText(wanted, schema), value);
    });
  }

  test("text that fits nothing stays as it is when that makes the better message", () => {
    assert.equal(fromText("abc", { type: "number" }), "abc");
    assert.equal(fromText("0", { type: "number", minimum: 1 }), 0);
    assert.equal(fromText("1e999", { type: "number" }), "1e999");
    assert.equal(fromText(" 5", { type: "number" }), " 5");
  });

  test("a repeated key is an array; one that cannot be read back is written as JSON", () => {
    const list: JsonSchema = { type: "array", items: { type: "string" } };
    assert.deepEqual(toTexts(["a", "b"], list), ["a", "b"]);
    assert.deepEqual(toTexts([], list), ["[]"]);
    assert.deepEqual(toTexts(['["a"]'], list), ['["[\\"a\\"]"]']);
    assert.deepEqual(fromTexts(["a"], list), ["a"]);
    const either: JsonSchema = { anyOf: [{ type: "string" }, list] };
    assert.deepEqual(toTexts(["a"], either), ['["a"]']);
    assert.deepEqual(toTexts("a", either), ["a"]);
  });

  test("every string comes back under every mixture of types with string in it", () => {
    const others = fc.subarray(["number", "boolean", "null", "object", "array"] as const);
    fc.assert(
      fc.property(text, others, (value, types) => {
        const schema: JsonSchema = { type: ["string", ...types] };
        assert.equal(fromText(toText(value, schema), schema), value);
        assert.equal(fromTexts(toTexts(value, schema), schema), value);
      }),
      { numRuns: 2000 },
    );
  });
});
