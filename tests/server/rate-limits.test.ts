/** The platform's limits for requests, for those who ask for them. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FlashError } from "../../src/contract/errors.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { RateLimits, type LimitedRequest } from "../../src/server/gateway/rate-limits.ts";
import { TestServer } from "./server-support.ts";

const PURGE: LimitedRequest = { endpointId: "ep1", operation: "purge-queue", running: 0 };
const CANCEL: LimitedRequest = { endpointId: "ep1", operation: "cancel", running: 0 };

function refusal(retryAfterS: number) {
  return (error: unknown): boolean =>
    FlashError.is(error) && error.status === 429 && error.details?.["retryAfterS"] === retryAfterS;
}

describe("counting", () => {
  test("a window's requests are refused when they are used up, with the time to wait", () => {
    const clock = new ManualClock();
    const limits = new RateLimits(clock);
    limits.enter(PURGE)();
    clock.advance(4000);
    limits.enter(PURGE)();
    assert.throws(() => limits.enter(PURGE), refusal(6));
    limits.enter({ ...PURGE, endpointId: "ep2" })();
    limits.enter({ ...PURGE, operation: "health" })();
    clock.advance(6000);
    limits.enter(PURGE)();
  });

  test("requests at once are limited until one is over", () => {
    const limits = new RateLimits(new ManualClock());
    const open = Array.from({ length: 20 }, () => limits.enter(CANCEL));
    assert.throws(() => limits.enter(CANCEL), refusal(1));
    open[0]?.();
    limits.enter(CANCEL);
  });

  test("a queue is full beyond fifty jobs and five hundred for each worker there may be", () => {
    const limits = new RateLimits(new ManualClock());
    limits.checkQueue(50, 0);
    assert.throws(() => limits.checkQueue(51, 0), refusal(10));
    limits.checkQueue(1000, 2);
    assert.throws(() => limits.checkQueue(1001, 2), refusal(10));
    const own = new RateLimits(new ManualClock(), { free: 3, perWorker: 2 });
    own.checkQueue(3, 1);
    assert.throws(() => own.checkQueue(4, 1), refusal(10));
    own.checkQueue(8, 4);
    assert.throws(() => own.checkQueue(9, 4), refusal(10));
  });

  test("running workers raise a limit, but not that of purging", () => {
    const limits = new RateLimits(new ManualClock());
    const enter = (request: LimitedRequest, times: number): void => {
      for (let count = 0; count < times; count++) limits.enter(request)();
    };
    enter({ ...CANCEL, running: 3 }, 300);
    assert.throws(() => limits.enter({ ...CANCEL, running: 3 }), refusal(10));
    enter({ ...PURGE, running: 3 }, 2);
    assert.throws(() => limits.enter({ ...PURGE, running: 3 }), refusal(10));
  });
});

test("a server that limits answers 429 with Retry-After; one that does not, does not", async (t) => {
  for (const rateLimits of [true, false]) {
    const server = await TestServer.start(t, { rateLimits });
    const { endpoints } = await server.deploy("shop", [
      { name: "queue", kind: "qb", options: { workers: 0 } },
    ]);
    const url = `/v2/${endpoints[0]?.id}/purge-queue`;
    const answers = [1, 2, 3].map(() => server.request(url, { method: "POST" }));
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    statuses.sort((a, b) => a - b);
    assert.deepEqual(statuses, rateLimits ? [200, 200, 429] : [200, 200, 200]);
    if (!rateLimits) continue;
    const refused = await server.request(url, { method: "POST" });
    assert.ok(Number(refused.headers["retry-after"]) >= 1);
    assert.equal(typeof refused.json.error, "string");
  }
});
