/** The wall clock is set back while no server runs: nothing waits until it is that late again. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { ManualClock } from "../../src/kit/clock.ts";
import { MAX_AHEAD_MS, steadyClock } from "../../src/server/jobs/steady.ts";
import type { DoneBody } from "../../src/server/jobs/requests.ts";
import { openStore } from "../../src/server/store/store.ts";
import { setUp, settleDown, type Setting } from "./jobs-support.ts";
import { temporaryFolder } from "../support/temp.ts";

const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2026, 0, 1, 12);
const YEARS_AHEAD = Date.UTC(2041, 0, 1);

/** Servers in one house, one after another, each with the wall clock at a time of its own. */
function house(t: TestContext): (now: number) => Promise<Setting> {
  const home = temporaryFolder(t);
  let last: Setting | undefined;
  return async (now) => {
    await last?.jobs.close();
    await last?.store.close();
    last = await setUp(t, { store: openStore({ home }), clock: new ManualClock(now) });
    return last;
  };
}

const takeAll = async ({ jobs }: Setting): Promise<string[]> => {
  const taken = await jobs.take({ endpointId: "ep1", workerId: "wk9", limit: 99, holdMs: 0 });
  return taken.map(({ id }) => id);
};

const done = async (
  { jobs }: Setting,
  { id, attempt }: { id: string; attempt: number },
  body: DoneBody,
): Promise<void> => {
  assert.equal(await jobs.done({ jobId: id, workerId: "wk1", attempt, body }), "accepted");
};

for (const [title, before] of [
  ["by an hour", NOON + HOUR_MS],
  ["by years", YEARS_AHEAD],
] as const) {
  describe(`a clock that was set back ${title} while no server ran`, () => {
    test("keeps no job waiting, and a delayed one no longer than it asked for", async (t) => {
      const start = house(t);
      const first = await start(before);
      const ids = [(await first.submit()).id, (await first.submit({ key: "k" })).id];
      const delayed = await first.submit({ delayMs: 1500 });
      const second = await start(NOON);
      const { id } = await second.submit();
      assert.deepEqual((await takeAll(second)).toSorted(), [...ids, id].toSorted());
      await second.pass(1000);
      assert.deepEqual(await takeAll(second), []);
      await second.pass(500);
      assert.deepEqual(await takeAll(second), [delayed.id]);
    });

    test("nor one that was running, or was sent back", async (t) => {
      const start = house(t);
      const first = await start(before - 60_000);
      const failed = await first.submit();
      const { attempt } = await first.take();
      await done(first, { ...failed, attempt }, { error: "no", retryable: false });
      assert.equal((await first.get(failed.id))?.state, "FAILED");
      const running = await first.submit();
      await first.take();
      await first.submit({ delayMs: 5 * HOUR_MS });
      await first.pass(60_000);
      assert.equal((await first.jobs.retry(failed.id))?.moved, true);
      const second = await start(NOON);
      assert.deepEqual((await takeAll(second)).toSorted(), [failed.id, running.id].toSorted());
    });

    test("lets a job live as long as it may, and its result be forgotten in time", async (t) => {
      const start = house(t);
      const first = await start(before);
      const ended = await first.submit();
      const { attempt } = await first.take();
      await done(first, { ...ended, attempt }, { output: 1 });
      const waiting = await first.submit({ policy: { ttl: 4 * HOUR_MS } });
      const second = await start(NOON);
      await second.pass(1000);
      assert.equal((await second.get(ended.id))?.state, "COMPLETED");
      assert.equal((await second.get(waiting.id))?.state, "IN_QUEUE");
      second.clock.advance(HOUR_MS);
      await settleDown(second.store);
      assert.equal(await second.get(ended.id), undefined);
      second.clock.advance(3 * HOUR_MS);
      await second.pass(1000);
      const late = await second.jobs.get(waiting.id, { kept: true });
      assert.equal(late?.state, "TIMED_OUT");
    });
  });
}

test("time goes on from where the last server was, unless that was absurdly late", async (t) => {
  const start = house(t);
  const times = [
    { wall: YEARS_AHEAD, expected: YEARS_AHEAD },
    { wall: NOON, expected: NOON },
    // Nothing is left of the years ahead that could be taken for the latest time.
    { wall: NOON - HOUR_MS, expected: NOON },
    { wall: NOON + HOUR_MS, expected: NOON + HOUR_MS },
  ];
  for (const { wall, expected } of times) {
    const server = await start(wall);
    assert.equal((await server.submit()).createdAt, expected);
    await done(server, await server.take(), { output: 1 });
  }
});

test("a steady clock resumes up to a day ahead of the wall clock, and never goes back for it", () => {
  for (const [latestAt, expected] of [
    [NOON - HOUR_MS, NOON],
    [NOON + HOUR_MS, NOON + HOUR_MS],
    [NOON + MAX_AHEAD_MS, NOON + MAX_AHEAD_MS],
    [NOON + MAX_AHEAD_MS + 1, NOON],
  ] as const) {
    const wall = new ManualClock(NOON);
    const clock = steadyClock(wall);
    clock.resume(latestAt);
    assert.equal(clock.now(), expected);
    wall.advance(1000);
    assert.equal(clock.now(), expected + 1000);
  }
});
