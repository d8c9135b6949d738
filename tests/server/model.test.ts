/**
 * Random histories of the jobs room over real stores, compared step by step with a small reference.
 * `FLASH_SEED` replays one seed; `FLASH_STEPS` makes the histories longer.
 */

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { describe, test, type TestContext } from "node:test";
import type { Durability } from "../../src/contract/store.ts";
import { temporaryFolder } from "../support/temp.ts";
import { World } from "./model/world.ts";

const { FLASH_SEED, FLASH_STEPS = "400" } = process.env;

interface Run {
  seed: number;
  durability: Durability;
}

const FIXED: readonly Run[] = [
  { seed: 1, durability: "memory" },
  { seed: 2, durability: "memory" },
  { seed: 3, durability: "relaxed" },
  { seed: 4, durability: "relaxed" },
  { seed: 5, durability: "relaxed" },
  { seed: 6, durability: "strict" },
];
const NEW: readonly Run[] = (["memory", "relaxed", "strict"] as const).map((durability) => ({
  seed: randomInt(2 ** 31),
  durability,
}));
const REPLAYED = (["memory", "relaxed", "strict"] as const).map((durability) => ({
  seed: Number(FLASH_SEED),
  durability,
}));

async function history(t: TestContext, { seed, durability }: Run): Promise<void> {
  const world = new World({ seed, durability, folder: temporaryFolder(t, "flash-model") });
  try {
    await world.run(Number(FLASH_STEPS));
    const { steps, jobs, ends, crashes } = world.counts;
    t.diagnostic(JSON.stringify({ seed, durability, steps, jobs, ends, crashes }));
    assert.ok(ends > jobs / 2, `${ends} of ${jobs} jobs were seen to end`);
  } catch (error) {
    const replay = `Replay with FLASH_SEED=${seed}; the last steps:\n  ${world.log.join("\n  ")}`;
    throw new Error(`${(error as Error).message}\n${replay}`, { cause: error });
  } finally {
    await world.close();
  }
}

describe("random histories agree with the reference", () => {
  for (const run of FLASH_SEED === undefined ? [...FIXED, ...NEW] : REPLAYED) {
    test(`seed ${run.seed} in a ${run.durability} store`, (t) => history(t, run));
  }
});

test("a store that acknowledges before it commits is caught", async (t) => {
  const folder = temporaryFolder(t, "flash-model");
  const failpoints = { commitDelayMs: 600_000 };
  const world = new World({ seed: 4, durability: "relaxed", folder, failpoints });
  t.after(() => world.close());
  await assert.rejects(world.run(500), assert.AssertionError);
});
