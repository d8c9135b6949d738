import assert from "node:assert/strict";
import { test } from "node:test";
import { retryWishOf } from "../../src/contract/retry-wish.ts";
import { FlashError, retryIn, stop } from "../../src/sdk/sdk.ts";

test("stop() is an error with its reason that no attempt follows", () => {
  const error = stop("the input is broken");
  assert.ok(error instanceof Error);
  assert.deepEqual([error.name, error.message], ["Stop", "the input is broken"]);
  assert.deepEqual(retryWishOf(error), { retryable: false });
});

test("retryIn() is an error that names the time of the next attempt", () => {
  assert.deepEqual(retryWishOf(retryIn(5000)), { retryAfterMs: 5000 });
  assert.equal(retryIn(0, "busy").message, "busy");
  for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(
      () => retryIn(wrong),
      (error) => FlashError.is(error) && error.code === "INVALID_USAGE",
    );
  }
});

test("other errors say nothing about attempts", () => {
  for (const thrown of [new Error("x"), "x", undefined, { retryAfterMs: "5" }]) {
    assert.deepEqual(retryWishOf(thrown), {});
  }
});
