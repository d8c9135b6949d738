import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  ERRORS,
  ERROR_STATUS,
  FlashError,
  errorOfProblem,
  errorOfReport,
  exitCodeOf,
  problemOf,
  reportOf,
  type ErrorCode,
  type Problem,
} from "../../src/contract/errors.ts";

describe("the table of errors", () => {
  test("every code is upper case with a title, a failure status and an exit code", () => {
    for (const [code, { title, exit }] of Object.entries(ERRORS)) {
      assert.match(code, /^[A-Z]+(_[A-Z]+)*$/);
      assert.match(title, /^[A-Z].*[^.]$/);
      const status = ERROR_STATUS[code as ErrorCode];
      assert.ok(status >= 400 && status <= 599, code);
      assert.ok(exit >= 1 && exit <= 4, code);
    }
  });

  test("only what is not the caller's or the code's fault may be tried again unchanged", () => {
    for (const [code, { blame, retry }] of Object.entries(ERRORS)) {
      if (retry) assert.equal(blame, "platform", code);
    }
  });
});

describe("problem documents", () => {
  test("an error is the same after its journey as a problem", () => {
    const cause = Object.assign(new RangeError("inner"), { code: "E_INNER" });
    const report = reportOf(new TypeError("outer", { cause }));
    const error = new FlashError("FUNCTION_ERROR", "It failed", {
      hint: "Look at it.",
      issues: [{ path: "x", message: "is required" }],
      details: { error: report },
      status: 503,
    });
    const back = errorOfProblem(JSON.parse(JSON.stringify(problemOf(error))));
    assert.ok(back !== undefined && FlashError.is(back));
    for (const key of ["code", "message", "hint", "issues", "details", "status"] as const) {
      assert.deepEqual(back[key], error[key]);
    }
    const user = back.cause as Error & { cause: Error & { code: string } };
    assert.deepEqual([user.name, user.message, user.stack], ["TypeError", "outer", report.stack]);
    assert.deepEqual([user.cause.name, user.cause.code], ["RangeError", "E_INNER"]);
  });

  const strangers: unknown[] = [
    undefined,
    null,
    "text",
    {},
    { code: "NO_SUCH" },
    { code: "constructor" },
    { code: "__proto__" },
    { detail: "no code" },
  ];
  for (const value of strangers) {
    test(`${JSON.stringify(value)} is no problem of ours`, () => {
      assert.equal(errorOfProblem(value), undefined);
    });
  }

  test("nonsense in a problem does no harm", () => {
    const hostile = {
      code: "NOT_FOUND",
      detail: 5,
      hint: {},
      issues: [null, { path: 1 }, { path: "x", message: "y" }],
      error: { name: 1, message: [], cause: { cause: { cause: {} } } },
      status: 200,
    } as unknown as Problem;
    const error = errorOfProblem(hostile);
    assert.equal(error?.message, ERRORS.NOT_FOUND.title);
    assert.equal(error.status, 404);
    assert.equal(error.hint, undefined);
    assert.deepEqual(error.issues, [{ path: "x", message: "y" }]);
  });
});

describe("errors of user code", () => {
  class UserNotFound extends Error {}

  test("a subclass is known by its class, a set name wins", () => {
    assert.equal(reportOf(new UserNotFound("gone")).name, "UserNotFound");
    assert.equal(reportOf(Object.assign(new UserNotFound(""), { name: "Mine" })).name, "Mine");
  });

  const thrown: [value: unknown, message: string][] = [
    ["text", "text"],
    [undefined, "undefined"],
    [null, "null"],
    [{ a: 1 }, '{"a":1}'],
    [5n, "5n"],
    [Symbol("s"), "Symbol(s)"],
  ];
  for (const [value, message] of thrown) {
    test(`thrown ${message} is described`, () => {
      assert.deepEqual(reportOf(value), { name: "Error", message });
    });
  }

  test("an object that cannot be written is described all the same", () => {
    const loop: { self?: unknown } = Object.create(null) as object;
    loop.self = loop;
    assert.equal(reportOf(loop).message, "[object Object]");
  });

  test("a chain of causes is cut, both ways", () => {
    let error = new Error("0");
    for (let level = 1; level < 50; level++) error = new Error(String(level), { cause: error });
    let length = 0;
    for (let at = reportOf(error); at.cause !== undefined; at = at.cause) length++;
    assert.equal(length, 5);
    let report: { name: string; message: string; cause?: typeof report } = {
      name: "E",
      message: "",
    };
    for (let level = 0; level < 100_000; level++)
      report = { name: "E", message: "", cause: report };
    assert.equal(errorOfReport(report).name, "E");
  });
});

describe("recognising errors", () => {
  test("by brand, across copies of the package", () => {
    const foreign = { [Symbol.for("runpod-flash.error")]: true, code: "CODE_OF_LATER" };
    assert.equal(FlashError.is(foreign), true);
    assert.equal(FlashError.is(new Error("other")), false);
    assert.equal(FlashError.is(null), false);
    assert.equal(exitCodeOf(foreign), 1);
    assert.equal(exitCodeOf(new FlashError("UNAUTHORIZED", "no")), 3);
    assert.equal(exitCodeOf(new Error("other")), 1);
  });
});
