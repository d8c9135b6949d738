/**
 * The scaler over random loads, minute by minute on a clock of its own: decisions are carried out by a
 * small model of a pool, as `workers/pool` does it, with workers that take a while to start, crash and
 * go when they are idle. Seeds of failures are printed and replayed by fast-check.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  STEP_MS,
  decide,
  type ScalePolicy,
  type ScaleView,
} from "../../src/server/scaler/decide.ts";

type Policy = ScalePolicy & { idleTimeoutS: number };

interface Worker {
  startedAt: number;
  idleSince: number;
  load: number;
}

/** What happens in one second. */
interface Second {
  arrivals: number;
  /** Work that ends, if that much runs. */
  ends: number;
  /** Workers that crash, if that many are there; their work waits again. */
  crashes: number;
}

const START_MS = 1500;

const anyPolicy: fc.Arbitrary<Policy> = fc.record({
  workersMin: fc.integer({ min: 0, max: 3 }),
  workersMax: fc.integer({ min: 3, max: 12 }),
  scalerType: fc.constantFrom("QUEUE_DELAY" as const, "REQUEST_COUNT" as const),
  scalerValue: fc.integer({ min: 1, max: 8 }),
  maxConcurrency: fc.integer({ min: 1, max: 4 }),
  idleTimeoutS: fc.integer({ min: 1, max: 20 }),
});
const anySecond: fc.Arbitrary<Second> = fc.record({
  arrivals: fc.oneof(
    { weight: 4, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.nat(6) },
    { weight: 1, arbitrary: fc.nat(80) },
  ),
  ends: fc.nat(12),
  crashes: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) }),
});

class Model {
  readonly workers: Worker[] = [];
  readonly waiting: number[] = [];
  now = 0;
  starts = 0;
  stops = 0;
  arrived = 0;
  ended = 0;
  target = 0;
  reason = "";
  #lastStepAt: number | undefined;
  readonly #policy: Policy;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  get running(): number {
    return this.workers.reduce((sum, { load }) => sum + load, 0);
  }

  second({ arrivals, ends, crashes }: Second): void {
    this.now += STEP_MS;
    for (let count = 0; count < crashes; count++) {
      const crashed = this.workers.pop();
      for (let lost = 0; lost < (crashed?.load ?? 0); lost++) this.waiting.unshift(this.now);
    }
    this.#end(ends);
    this.arrived += arrivals;
    for (let count = 0; count < arrivals; count++) this.waiting.push(this.now);
    this.#handOut();
    this.scale();
  }

  /** One look of the scaler, carried out as the pool does. */
  scale(): void {
    const [decision] = decide(this.view(), this.#policy, this.now);
    assert.ok(decision !== undefined);
    if (decision.isStep) this.#lastStepAt = this.now;
    this.target = decision.target;
    this.reason = decision.reason;
    while (this.workers.length < decision.target) {
      this.workers.push({ startedAt: this.now, idleSince: this.now + START_MS, load: 0 });
      this.starts += 1;
    }
    const { workersMin, idleTimeoutS } = this.#policy;
    let surplus = this.workers.length - Math.max(workersMin, decision.target);
    for (const worker of this.workers.filter((one) => this.#isReady(one) && one.load === 0)) {
      if (surplus <= 0) break;
      if (this.now - worker.idleSince < idleTimeoutS * 1000) continue;
      this.workers.splice(this.workers.indexOf(worker), 1);
      this.stops += 1;
      surplus -= 1;
    }
  }

  view(): ScaleView {
    const [oldest = this.now] = this.waiting;
    return {
      kind: "qb",
      lastStepAt: this.#lastStepAt,
      versions: [
        {
          releaseId: "now",
          isActive: true,
          waiting: this.waiting.length,
          oldestWaitMs: this.now - oldest,
          running: this.running,
          workers: this.workers.length,
          ready: this.workers.filter((worker) => this.#isReady(worker)).length,
        },
      ],
    };
  }

  #isReady({ startedAt }: Worker): boolean {
    return this.now - startedAt >= START_MS;
  }

  #handOut(): void {
    for (const worker of this.workers) {
      while (this.#isReady(worker) && worker.load < this.#policy.maxConcurrency) {
        if (this.waiting.shift() === undefined) return;
        worker.load += 1;
      }
    }
  }

  #end(most: number): void {
    let left = most;
    for (const worker of this.workers) {
      const done = Math.min(left, worker.load);
      worker.load -= done;
      left -= done;
      this.ended += done;
      if (done > 0 && worker.load === 0) worker.idleSince = this.now;
    }
  }
}

const QUIET: Second = { arrivals: 0, ends: 50, crashes: 0 };

describe("under random loads", () => {
  const anyHistory = fc.tuple(anyPolicy, fc.array(anySecond, { minLength: 10, maxLength: 90 }));

  test("workers stay within their bounds, and no work is lost or counted twice", () => {
    fc.assert(
      fc.property(anyHistory, ([policy, history]) => {
        const model = new Model(policy);
        for (const second of history) {
          model.second(second);
          assert.ok(model.workers.length <= policy.workersMax, `${model.workers.length} workers`);
          assert.ok(model.workers.length >= policy.workersMin, `${model.workers.length} workers`);
          assert.equal(model.arrived, model.ended + model.running + model.waiting.length);
        }
      }),
    );
  });

  test("a second look at the same moment starts and stops nothing", () => {
    fc.assert(
      fc.property(anyHistory, ([policy, history]) => {
        const model = new Model(policy);
        for (const second of history) {
          model.second(second);
          const { starts, stops, target } = model;
          model.scale();
          assert.deepEqual([model.starts, model.stops], [starts, stops], model.reason);
          assert.ok(model.target <= target, "a step is made once");
        }
      }),
    );
  });

  test("whatever waits is worked off, and then only the minimum is left", () => {
    fc.assert(
      fc.property(anyHistory, ([policy, history]) => {
        const model = new Model(policy);
        for (const second of history) model.second(second);
        for (let seconds = 0; seconds < 400; seconds++) model.second(QUIET);
        assert.deepEqual([model.waiting.length, model.running], [0, 0]);
        for (let seconds = 0; seconds <= policy.idleTimeoutS + 2; seconds++) model.second(QUIET);
        assert.equal(model.workers.length, policy.workersMin);
        assert.equal(model.arrived, model.ended);
      }),
    );
  });

  test("a steady load starts and stops no worker again and again", () => {
    const anySteady = fc.record({ arrivals: fc.integer({ min: 1, max: 10 }), extra: fc.nat(3) });
    fc.assert(
      fc.property(anyPolicy, anySteady, (policy, { arrivals, extra }) => {
        const model = new Model(policy);
        const second: Second = { arrivals, ends: arrivals + extra, crashes: 0 };
        for (let seconds = 0; seconds < 300; seconds++) model.second(second);
        const { starts, stops } = model;
        for (let seconds = 0; seconds < 300; seconds++) model.second(second);
        const moves = model.starts - starts + (model.stops - stops);
        // A worker may come or go once in an idle timeout, not in every look.
        const allowed = 2 * Math.ceil(300 / policy.idleTimeoutS);
        assert.ok(moves <= allowed, `${moves} moves in 300 s, ${model.reason}`);
      }),
    );
  });

  test("more work never wants fewer workers", () => {
    const anyLoad = fc.record({
      waiting: fc.nat(100),
      oldestWaitMs: fc.nat(20_000),
      running: fc.nat(30),
      workers: fc.nat(12),
    });
    fc.assert(
      fc.property(anyPolicy, anyLoad, fc.nat(50), (policy, load, more) => {
        const targetOf = (waiting: number): number => {
          const version = {
            releaseId: "now",
            isActive: true,
            ready: load.workers,
            ...load,
            waiting,
          };
          const view: ScaleView = { kind: "qb", lastStepAt: undefined, versions: [version] };
          return decide(view, policy, 100_000)[0]?.target ?? -1;
        };
        // Of two queues with the same oldest job.
        if (load.waiting === 0) return;
        assert.ok(targetOf(load.waiting + more) >= targetOf(load.waiting));
      }),
    );
  });
});
