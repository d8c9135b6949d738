/**
 * kill -9 of the real server under load. `FLASH_SEED` replays the moments of the kills, `FLASH_ROUNDS`
 * makes the campaign longer.
 */

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test, type TestContext } from "node:test";
import { Campaign, type CampaignOptions, type Report } from "./crash/campaign.ts";

const { FLASH_SEED = String(randomInt(2 ** 31)), FLASH_ROUNDS = "200" } = process.env;

async function report(t: TestContext, options: Omit<CampaignOptions, "seed">): Promise<Report> {
  const campaign = await Campaign.open(t, { seed: Number(FLASH_SEED), ...options });
  const found = await campaign.run();
  t.diagnostic(
    JSON.stringify({ ...options, ...found, lost: found.lost.length, wrong: found.wrong.length }),
  );
  return found;
}

test("a server that is killed under load loses nothing it acknowledged, and ends every job once", async (t) => {
  const { lost, wrong, heard, acknowledged, executions } = await report(t, {
    rounds: Number(FLASH_ROUNDS),
    longestMs: 500,
  });
  assert.deepEqual(lost, [], `lost: FLASH_SEED=${FLASH_SEED}`);
  assert.deepEqual(wrong, [], `wrong: FLASH_SEED=${FLASH_SEED}`);
  const half = Math.ceil(Number(FLASH_ROUNDS) / 2);
  assert.ok(heard >= half && acknowledged >= heard, `${acknowledged} jobs, ${heard} servers`);
  assert.ok(executions >= acknowledged, `${executions} executions of ${acknowledged} jobs`);
});

test("the same campaign notices a server that acknowledges before it commits", async (t) => {
  const { lost } = await report(t, { rounds: 3, longestMs: 500, commitDelayMs: 60_000 });
  assert.notDeepEqual(lost, []);
});
