/** Which workers start and which go, for the targets of the scaler. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { resolveOptions } from "../../src/contract/options.ts";
import type { WorkerState } from "../../src/contract/states.ts";
import {
  idleTooLong,
  missing,
  superseded,
  unwanted,
  type Member,
} from "../../src/server/workers/turnover.ts";

const NOW = 100_000;
const NO_FAILURES = { count: 0, nextStartAt: Number.NEGATIVE_INFINITY };

/** A worker named by its state, such as `IDLE`, `RUNNING` or `UNHEALTHY`; idle ones for `idleS`. */
function member(state: WorkerState, { releaseId = "now", idleS = 0, load = 0 } = {}): Member {
  const isReady = state === "IDLE" || state === "RUNNING";
  const isUp = isReady || state === "INITIALIZING";
  const idleSince = NOW - idleS * 1000;
  return { version: { releaseId }, state, isReady, isUp, load, idleSince };
}

describe("workers that are missing", () => {
  test("are those that are not up, so that one that is ill is replaced before it ends", () => {
    const members = [member("IDLE"), member("INITIALIZING"), member("UNHEALTHY")];
    const look = { failures: NO_FAILURES, now: NOW };
    assert.equal(missing(members, 4, look), 2);
    assert.equal(missing(members, 1, look), 0);
  });

  test("come one at a time, after a pause, when a start has failed", () => {
    const failures = { count: 1, nextStartAt: NOW };
    assert.equal(missing([], 5, { failures, now: NOW - 1 }), 0);
    assert.equal(missing([], 5, { failures, now: NOW }), 1);
    assert.equal(missing([member("INITIALIZING")], 5, { failures, now: NOW }), 0);
    assert.equal(missing([member("IDLE")], 1, { failures, now: NOW }), 0);
  });
});

describe("idle workers", () => {
  const options = resolveOptions({ workers: [1, 5], idleTimeoutS: 10 }, "qb", "e");

  test("go once they are too many and have been idle for long enough, the longest first", () => {
    const [fresh, long, longest] = [5, 20, 30].map((idleS) => member("IDLE", { idleS }));
    assert.ok(fresh && long && longest);
    const members = [fresh, long, longest, member("RUNNING", { load: 1, idleS: 60 })];
    assert.deepEqual(idleTooLong(members, 0, { options, now: NOW }), [longest, long]);
    assert.deepEqual(idleTooLong(members, 3, { options, now: NOW }), [longest]);
    assert.deepEqual(idleTooLong(members, 4, { options, now: NOW }), []);
  });

  test("stay when the endpoint keeps as many", () => {
    const members = [member("IDLE", { idleS: 60 })];
    assert.deepEqual(idleTooLong(members, 0, { options, now: NOW }), []);
  });

  test("of an endpoint that is off go at once", () => {
    const off = { ...options, workersMin: 0, workersMax: 0 };
    const members = [member("IDLE"), member("IDLE")];
    assert.equal(idleTooLong(members, 0, { options: off, now: NOW }).length, 2);
  });
});

describe("workers of earlier versions", () => {
  test("of a queue stay as long as jobs of their version want so many", () => {
    const [first, second, other] = [
      member("IDLE", { releaseId: "a" }),
      member("IDLE", { releaseId: "a" }),
      member("IDLE", { releaseId: "b" }),
    ];
    assert.ok(first && second && other);
    const earlier = [first, second, other];
    assert.deepEqual(unwanted(earlier, new Map([["a", 1]])), [first, other]);
    assert.deepEqual(unwanted(earlier, new Map([["a", 2]])), [other]);
  });

  test("of a queue finish what they have", () => {
    const busy = member("RUNNING", { releaseId: "a", load: 1 });
    assert.deepEqual(unwanted([busy], new Map()), []);
  });

  test("of a load-balanced endpoint go when another version serves, or when they are idle", () => {
    const busy = member("RUNNING", { releaseId: "a", load: 1, idleS: 60 });
    const idle = member("IDLE", { releaseId: "a", idleS: 60 });
    const look = { idleMs: 10_000, now: NOW };
    assert.deepEqual(superseded([busy, idle], { isCovered: false, ...look }), [idle]);
    assert.deepEqual(superseded([busy, idle], { isCovered: true, ...look }), [busy, idle]);
  });
});
