import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import type { VersionView } from "../../src/contract/control.ts";
import {
  STEP_MS,
  decide,
  type ScalePolicy,
  type ScaleView,
} from "../../src/server/scaler/decide.ts";

const POLICY: ScalePolicy = {
  workersMin: 0,
  workersMax: 10,
  scalerType: "QUEUE_DELAY",
  scalerValue: 4,
  maxConcurrency: 1,
};

function version(changes: Partial<VersionView> = {}): VersionView {
  return {
    releaseId: "now",
    isActive: true,
    waiting: 0,
    oldestWaitMs: 0,
    running: 0,
    workers: 0,
    ready: 0,
    ...changes,
  };
}

function view(versions: VersionView[], changes: Partial<ScaleView> = {}): ScaleView {
  return { kind: "qb", versions, lastStepAt: undefined, ...changes };
}

function target(load: Partial<VersionView>, policy: Partial<ScalePolicy> = {}, now = 10_000) {
  const [decision] = decide(view([version(load)]), { ...POLICY, ...policy }, now);
  return decision?.target;
}

describe("REQUEST_COUNT", () => {
  const policy: Partial<ScalePolicy> = { scalerType: "REQUEST_COUNT", scalerValue: 4 };
  const rows: [waiting: number, running: number, wanted: number][] = [
    [0, 0, 0],
    [1, 0, 1],
    [0, 1, 1],
    [4, 0, 1],
    [5, 0, 2],
    [3, 5, 2],
    [9, 0, 3],
    [400, 0, 10],
  ];
  for (const [waiting, running, wanted] of rows) {
    test(`${waiting} waiting and ${running} running want ${wanted} workers`, () => {
      assert.equal(target({ waiting, running }, policy), wanted);
    });
  }

  test("a load-balanced worker at its own limit counts as full, whatever the scaler value is", () => {
    const limited = { ...POLICY, ...policy, maxConcurrency: 2 };
    const load = [version({ waiting: 3, running: 3 })];
    assert.equal(decide(view(load, { kind: "lb" }), limited, 10_000)[0]?.target, 3);
    assert.equal(decide(view(load, { kind: "qb" }), limited, 10_000)[0]?.target, 2);
  });

  test("a scaler value with a fraction counts exactly", () => {
    assert.equal(target({ waiting: 3 }, { ...policy, scalerValue: 1.5 }), 2);
    assert.equal(target({ waiting: 4 }, { ...policy, scalerValue: 1.5 }), 3);
  });
});

describe("QUEUE_DELAY", () => {
  test("the first worker comes at once, however short the wait", () => {
    assert.equal(target({ waiting: 1 }), 1);
    assert.equal(target({ waiting: 100 }), 1);
  });

  test("no further worker comes while the oldest job is within the delay", () => {
    const load = { waiting: 5, running: 1, workers: 1, ready: 1 };
    assert.equal(target({ ...load, oldestWaitMs: 4000 }), 1);
    assert.equal(target({ ...load, oldestWaitMs: 4001 }), 2);
  });

  test("each step doubles, up to what the jobs need and the maximum", () => {
    const late = { oldestWaitMs: 9000 };
    assert.equal(target({ ...late, waiting: 100, running: 2, workers: 2 }), 4);
    assert.equal(target({ ...late, waiting: 1, running: 2, workers: 2 }), 3);
    assert.equal(target({ ...late, waiting: 100, running: 8, workers: 8 }), 10);
  });

  test("a job that waits less long than the step is not counted again by another look", () => {
    const load = version({ waiting: 9, running: 1, workers: 1, oldestWaitMs: 9000 });
    const just = view([load], { lastStepAt: 10_000 });
    assert.equal(decide(just, POLICY, 10_000 + STEP_MS - 1)[0]?.target, 1);
    assert.equal(decide(just, POLICY, 10_000 + STEP_MS)[0]?.target, 2);
  });

  test("workers that run several jobs at once are needed less", () => {
    const load = { waiting: 8, running: 0, workers: 1, oldestWaitMs: 9000 };
    assert.equal(target(load, { maxConcurrency: 8 }), 1);
    assert.equal(target(load, { maxConcurrency: 4 }), 2);
  });

  test("workers with work stay, workers without are no target", () => {
    assert.equal(target({ running: 3, workers: 3, ready: 3 }), 3);
    assert.equal(target({ running: 0, workers: 3, ready: 3 }), 0);
  });
});

describe("bounds", () => {
  test("workersMin are there without any work", () => {
    assert.equal(target({}, { workersMin: 2 }), 2);
  });

  test("workersMax 0 turns the endpoint off, jobs or not", () => {
    assert.equal(target({ waiting: 5, oldestWaitMs: 9000 }, { workersMin: 0, workersMax: 0 }), 0);
  });

  test("a limit is named in the reason", () => {
    const [decision] = decide(
      view([version({ waiting: 99 })]),
      { ...POLICY, scalerType: "REQUEST_COUNT", scalerValue: 1 },
      0,
    );
    assert.match(decision?.reason ?? "", /99 waiting.*workersMax 10/);
  });
});

describe("releases", () => {
  const old = version({ releaseId: "old", isActive: false });

  test("an earlier release gets workers for the jobs it accepted, and none without", () => {
    const waiting = { ...old, waiting: 3, oldestWaitMs: 100 };
    assert.deepEqual(
      decide(view([version(), waiting]), POLICY, 0).map(({ target }) => target),
      [0, 3],
    );
    assert.deepEqual(
      decide(view([version(), { ...old, running: 2, workers: 2 }]), POLICY, 0)[1]?.target,
      0,
    );
  });

  test("all earlier releases together stay within workersMax, the oldest job first", () => {
    const targets = decide(
      view([
        version(),
        { ...old, releaseId: "b", waiting: 5, oldestWaitMs: 100 },
        { ...old, releaseId: "a", waiting: 8, oldestWaitMs: 900 },
      ]),
      POLICY,
      0,
    );
    assert.deepEqual(
      targets.map(({ releaseId, target }) => [releaseId, target]),
      [
        ["now", 0],
        ["b", 2],
        ["a", 8],
      ],
    );
  });

  test("while an earlier release serves requests, the active one gets a worker to take over", () => {
    const serving = { ...old, workers: 1, ready: 1 };
    const policy: ScalePolicy = { ...POLICY, scalerType: "REQUEST_COUNT" };
    assert.equal(decide(view([version(), serving], { kind: "lb" }), policy, 0)[0]?.target, 1);
    // A queue worker of an earlier release can do nothing for new jobs.
    assert.equal(decide(view([version(), serving], { kind: "qb" }), policy, 0)[0]?.target, 0);
    const off = { ...policy, workersMax: 0 };
    assert.equal(decide(view([version(), serving], { kind: "lb" }), off, 0)[0]?.target, 0);
  });
});

describe("under any load", () => {
  const anyPolicy = fc.record({
    workersMin: fc.integer({ min: 0, max: 5 }),
    workersMax: fc.integer({ min: 5, max: 20 }),
    scalerType: fc.constantFrom("QUEUE_DELAY" as const, "REQUEST_COUNT" as const),
    scalerValue: fc.integer({ min: 1, max: 10 }),
    maxConcurrency: fc.integer({ min: 1, max: 4 }),
  });
  const anyLoad = fc.record({
    waiting: fc.nat(200),
    oldestWaitMs: fc.nat(60_000),
    running: fc.nat(40),
    workers: fc.nat(20),
  });

  test("the target is a whole number within the bounds, with a reason", () => {
    fc.assert(
      fc.property(anyPolicy, anyLoad, fc.nat(5000), (policy, load, now) => {
        const [decision] = decide(view([version(load)]), policy, now);
        assert.ok(decision !== undefined && Number.isInteger(decision.target));
        assert.ok(decision.target >= policy.workersMin && decision.target <= policy.workersMax);
        assert.notEqual(decision.reason, "");
      }),
    );
  });

  test("once the workers have reached the target, a steady load moves nothing", () => {
    fc.assert(
      fc.property(anyPolicy, anyLoad, (policy, load) => {
        let workers = load.workers;
        let lastStepAt: number | undefined;
        const seen: number[] = [];
        for (let now = 0; now < 60_000; now += STEP_MS) {
          const [decision] = decide(
            view([version({ ...load, workers })], { lastStepAt }),
            policy,
            now,
          );
          if (decision === undefined) throw new Error("no decision");
          if (decision.isStep) lastStepAt = now;
          workers = decision.target;
          seen.push(workers);
        }
        assert.equal(new Set(seen.slice(-10)).size, 1, `it swings: ${seen.join(" ")}`);
      }),
    );
  });
});
