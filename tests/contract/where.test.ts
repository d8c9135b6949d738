import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decideWhere, type CallFacts, type Place } from "../../src/contract/where.ts";

const SCRIPT: CallFacts = {
  mode: "script",
  kind: "qb",
  live: false,
  production: false,
  owned: false,
  testRunner: false,
  forced: undefined,
  deployed: false,
  configured: false,
  liveWorkers: false,
};

describe("where a call runs", () => {
  const rows: [title: string, facts: Partial<CallFacts>, place: Place][] = [
    ["while the project is described nothing is called", { mode: "describe" }, "refused"],
    ["not even when all runs locally", { mode: "describe", forced: "local" }, "refused"],
    ["the worker that owns the endpoint runs it", { mode: "serve", owned: true }, "in-process"],
    [
      "even when all should be remote",
      { mode: "serve", owned: true, forced: "remote" },
      "in-process",
    ],
    ["another worker calls the owner", { mode: "serve" }, "deployed"],
    [
      "also for a Live resource: deployed, it is a production one",
      { mode: "serve", live: true },
      "deployed",
    ],
    ["a live worker runs what it calls", { mode: "live", live: true }, "in-process"],
    ["whoever it belongs to", { mode: "live", forced: "remote" }, "in-process"],
    ["FLASH_MODE=local runs in process", { forced: "local" }, "in-process"],
    ["whatever is deployed", { forced: "local", deployed: true, configured: true }, "in-process"],
    ["after deploy() the URL it returned is used", { deployed: true }, "own-url"],
    ["under a test runner too", { deployed: true, testRunner: true }, "own-url"],
    ["a test runner runs in process", { testRunner: true }, "in-process"],
    ["although an app is configured", { testRunner: true, configured: true }, "in-process"],
    [
      "unless FLASH_MODE=remote",
      { testRunner: true, configured: true, forced: "remote" },
      "deployed",
    ],
    ["a Live resource runs in process", { live: true }, "in-process"],
    ["also with credentials", { live: true, configured: true }, "in-process"],
    [
      "but on a live worker under flash run --remote",
      { live: true, liveWorkers: true },
      "live-worker",
    ],
    [
      "other resources do not use live workers",
      { liveWorkers: true, configured: true },
      "deployed",
    ],
    [
      "a script with app and credentials calls the deployed endpoint",
      { configured: true },
      "deployed",
    ],
    ["also for a production resource", { configured: true, production: true }, "deployed"],
    ["a production resource before deploy() is an error", { production: true }, "not-deployed"],
    ["so is FLASH_MODE=remote with nothing configured", { forced: "remote" }, "not-deployed"],
    ["a script with nothing configured runs in process", {}, "in-process"],
  ];
  for (const [title, facts, place] of rows) {
    test(title, () => {
      const decision = decideWhere({ ...SCRIPT, ...facts });
      assert.equal(decision.place, place);
      assert.match(decision.reason, /^\S.*\.$/);
    });
  }

  test("the kind of endpoint never matters", () => {
    for (const [, facts, place] of rows) {
      assert.equal(decideWhere({ ...SCRIPT, ...facts, kind: "lb" }).place, place);
    }
  });

  test("stderr gets its line exactly when nothing is configured", () => {
    for (const [title, facts] of rows) {
      const { notice } = decideWhere({ ...SCRIPT, ...facts });
      assert.equal(notice === true, Object.keys(facts).length === 0, title);
    }
  });
});
