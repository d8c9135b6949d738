/** Values that travel to a live worker: encode, through JSON text, decode. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { FlashError } from "../../src/contract/flash-error.ts";
import { decodeRich, encodeRich } from "../../src/contract/rich.ts";

async function travel<T>(value: T): Promise<T> {
  return decodeRich(JSON.parse(JSON.stringify(await encodeRich(value)))) as T;
}

/** Whatever a function may be given or return, several levels deep. */
const anyValue = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.string({ unit: "binary" }),
    fc.double(),
    fc.boolean(),
    fc.constantFrom<unknown>(null, undefined, Number.NaN, -0, Infinity, -Infinity),
    fc.bigInt(),
    fc.date({ noInvalidDate: false }),
    fc.uint8Array(),
    fc.float64Array(),
    fc.bigInt64Array(),
    fc.constantFrom(/a+b/giu, /^\/[\s\S]$/m, new URL("https://x.example/a?b=c#d")),
    fc.array(tie("value")),
    fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("$type", "value", "__proto__")),
      tie("value"),
      {
        noNullPrototype: true,
      },
    ),
    fc.array(tie("value")).map((items) => new Set(items)),
    fc.array(fc.tuple(tie("value"), tie("value"))).map((entries) => new Map(entries)),
  ),
})).value;

describe("rich values", () => {
  test("any value arrives as it was sent", async () => {
    await fc.assert(
      fc.asyncProperty(anyValue, async (value) => {
        assert.deepStrictEqual(await travel(value), value);
      }),
      { numRuns: 500 },
    );
  });

  test("plain JSON is written as it is", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ noUnicodeString: false }), async (value) => {
        const plain = JSON.parse(JSON.stringify(value)) as unknown;
        if (JSON.stringify(plain).includes("$type")) return;
        assert.deepStrictEqual(await encodeRich(plain), plain);
      }),
    );
  });

  test("an object that looks like a tagged value stays an object", async () => {
    const value = { $type: "Date", value: { $type: "bigint", value: "1" } };
    assert.deepStrictEqual(await travel(value), value);
  });

  test("errors keep class, message, stack, causes and their own properties", async () => {
    class QuotaError extends Error {}
    const cause = Object.assign(new TypeError("inner"), { code: "E_IN" });
    const error = Object.assign(new QuotaError("outer", { cause }), { retryable: false });
    const arrived = await travel<Error & { retryable?: boolean }>(error);
    assert.ok(arrived instanceof Error);
    assert.deepEqual(
      [arrived.name, arrived.message, arrived.stack],
      ["QuotaError", "outer", error.stack],
    );
    assert.equal(arrived.retryable, false);
    assert.ok(arrived.cause instanceof TypeError);
    assert.equal((arrived.cause as TypeError & { code: string }).code, "E_IN");
    const many = await travel(new AggregateError([new RangeError("one")], "all"));
    assert.ok(many instanceof AggregateError && many.errors[0] instanceof RangeError);
  });

  test("bytes, files, requests and responses keep their content", async () => {
    const file = await travel(
      new File(["héllo"], "a.txt", { type: "text/plain", lastModified: 5 }),
    );
    assert.ok(file instanceof File);
    assert.deepEqual(
      [file.name, file.type, file.lastModified, await file.text()],
      ["a.txt", "text/plain", 5, "héllo"],
    );
    const blob = await travel(new Blob(["x"], { type: "a/b" }));
    assert.deepEqual([blob.type, await blob.text()], ["a/b", "x"]);
    const request = await travel(
      new Request("http://x.example/p?q=1", { method: "PUT", body: "in", headers: { "x-a": "b" } }),
    );
    assert.deepEqual(
      [request.method, request.url, request.headers.get("x-a"), await request.text()],
      ["PUT", "http://x.example/p?q=1", "b", "in"],
    );
    const response = await travel(new Response("out", { status: 201, headers: { "x-c": "d" } }));
    assert.deepEqual(
      [response.status, response.headers.get("x-c"), await response.text()],
      [201, "d", "out"],
    );
    assert.equal((await travel(new Response(null, { status: 204 }))).status, 204);
    const stream = await travel(new Blob(["streamed"]).stream());
    assert.equal(await new Response(stream).text(), "streamed");
    assert.deepEqual(await travel(Buffer.from("ab")), new Uint8Array([97, 98]));
    assert.deepEqual(
      new Uint8Array(await travel(new Uint8Array([1, 2]).buffer)),
      new Uint8Array([1, 2]),
    );
  });

  test("a class that writes its own JSON arrives as that", async () => {
    class Money {
      toJSON(): unknown {
        return { cents: 5n };
      }
    }
    assert.deepStrictEqual(await travel<unknown>([new Money()]), [{ cents: 5n }]);
  });

  const loop: { list: unknown[] } = { list: [] };
  loop.list.push({ loop });
  class Opaque {
    size = 1;
  }
  const refusals: [title: string, value: unknown, message: RegExp][] = [
    ["a cycle", loop, /^value\.list\[0\]\.loop refers back to a value that holds it/],
    ["a function", { a: [() => 1] }, /^value\.a\[0\] is a function/],
    ["a symbol", Symbol("x"), /^value is a symbol/],
    ["an instance", new Map([["k", new Opaque()]]), /^value\.values\(\)\[0\] is a Opaque/],
    ["a promise", { "a b": Promise.resolve(1) }, /^value\["a b"\] is a Promise/],
  ];
  for (const [title, value, message] of refusals) {
    test(`${title} is refused naming its place`, async () => {
      await assert.rejects(encodeRich(value), (error) => {
        assert.ok(FlashError.is(error) && error.code === "NOT_SERIALIZABLE");
        assert.match(error.message, message);
        return true;
      });
    });
  }

  test("a value that is deeper than anything may be is refused, not a broken stack", async () => {
    let deep: unknown = 1;
    for (let level = 0; level < 5000; level++) deep = [deep];
    await assert.rejects(encodeRich(deep), /nested deeper than/);
    assert.throws(() => decodeRich(deep), /nested too deeply/);
  });

  test("JSON that nobody has encoded is refused, whatever it is", () => {
    const wrong = [
      { $type: "Nonsense" },
      { $type: "constructor", value: 1 },
      { $type: 5 },
      { $type: "bigint", value: "x" },
      { $type: "Map", value: 5 },
      { $type: "URL", value: "::" },
      { $type: "View", value: { type: "Function", base64: "" } },
      { $type: "Error" },
    ];
    for (const json of wrong) {
      assert.throws(() => decodeRich(json), { code: "INVALID_REQUEST" }, JSON.stringify(json));
    }
    fc.assert(
      fc.property(
        fc.constantFrom("Date", "Map", "Set", "Error", "View", "Request", "Object"),
        fc.jsonValue(),
        ($type, value) => {
          try {
            decodeRich({ $type, value });
          } catch (error) {
            assert.ok(FlashError.is(error), String(error));
          }
        },
      ),
    );
  });
});
