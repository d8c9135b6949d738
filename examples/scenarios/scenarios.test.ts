/** The scenarios' functions, called directly. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { processData } from "./scenario_1/gpu_worker.ts";
import { preprocess, runInference } from "./scenario_2/gpu_worker.ts";
import { generate, health, translate } from "./scenario_3/lb_worker.ts";

test("scenario 1: one queue function", async () => {
  assert.deepEqual(await processData([1, 2, 3.5]), { sum: 6.5 });
});

test("scenario 2: two queue functions with a name each", async () => {
  const { words } = await preprocess("The quick fox");
  assert.deepEqual(words, ["the", "quick", "fox"]);
  assert.deepEqual(await runInference(words), { count: 3, longest: "quick" });
});

test("scenario 3: three routes of one endpoint", async () => {
  assert.deepEqual(await generate("ha"), { text: "ha ha ha" });
  assert.deepEqual(await translate("oui", "fr"), { text: "« oui »", to: "fr" });
  assert.deepEqual(await health(), { status: "healthy" });
});
