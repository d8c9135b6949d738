/** Functions in this process: contexts, instances, and what is handed through unchanged. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  Endpoint,
  FlashError,
  LiveLoadBalancer,
  LiveServerless,
  context,
  remote,
} from "../../src/sdk/sdk.ts";

describe("context()", () => {
  test("is refused outside of a function", () => {
    assert.throws(context, (error) => {
      assert.ok(FlashError.is(error));
      assert.equal(error.code, "INVALID_USAGE");
      assert.equal(error.message, "context() was called outside of a running endpoint function.");
      return true;
    });
  });

  test("is there in every kind of function, before and after waiting", async () => {
    const attempts: number[] = [];
    const look = async (): Promise<void> => {
      attempts.push(context().attempt);
      await new Promise((resolve) => setImmediate(resolve));
      attempts.push(context().attempt);
    };
    const live = new LiveLoadBalancer({ name: "l" });
    await Endpoint({ name: "q" }, look)();
    await Endpoint({ name: "r" }).get("/x", look)();
    await remote(live, { method: "GET", path: "/x" }, look)();
    remote(live, { method: "GET", path: "/y" }, () => void attempts.push(context().attempt))();
    class Model {
      async init(): Promise<void> {
        attempts.push(context().attempt);
      }
      look = look;
      async predict(): Promise<void> {
        await this.look();
      }
    }
    await Endpoint({ name: "c" }, Model).predict();
    assert.equal(attempts.length, 10);
    assert.throws(context);
  });

  test("of parallel calls is each call's own, and of an inner call another job's", async () => {
    const inner = Endpoint({ name: "inner" }, async () => context().job);
    const outer = Endpoint({ name: "outer" }, async () => [
      context().job,
      await inner(),
      context().job,
    ]);
    const [one, two] = await Promise.all([outer(), outer()]);
    assert.deepEqual(
      one.map((job) => job?.endpoint),
      ["outer", "inner", "outer"],
    );
    assert.equal(one[0]?.id, one[2]?.id);
    assert.notEqual(one[0]?.id, two[0]?.id);
  });

  test("carries the caller's signal into the functions it calls", async () => {
    const inner = Endpoint({ name: "inner" }, async () => context().signal);
    const outer = Endpoint({ name: "outer" }, async () => inner());
    const abort = new AbortController();
    const signal = await outer.with({ signal: abort.signal })();
    assert.equal(signal.aborted, false);
    abort.abort();
    assert.equal(signal.aborted, true);
  });

  test("stays in a stream of a live route", async () => {
    const live = new LiveLoadBalancer({ name: "l" });
    const count = remote(live, { method: "GET", path: "/x" }, async function* (): AsyncGenerator<
      number,
      string,
      number
    > {
      const got = yield context().attempt;
      return `got ${got}`;
    });
    const stream = count();
    assert.deepEqual(await stream.next(), { value: 1, done: false });
    assert.deepEqual(await stream.next(7), { value: "got 7", done: true });
    const early = count();
    await early.next();
    assert.deepEqual(await early.return("stopped"), { value: "stopped", done: true });
  });
});

describe("what is handed through", () => {
  const live = new LiveLoadBalancer({ name: "l" });

  test("a synchronous live route returns and throws synchronously", () => {
    const value = { big: 1n, map: new Map() };
    const same = remote(live, { method: "GET", path: "/a" }, <T>(given: T) => given);
    assert.equal(same(value), value);
    const fail = remote(live, { method: "GET", path: "/b" }, () => {
      throw new RangeError("now");
    });
    assert.throws(fail, RangeError);
  });

  test("a route of Endpoint always gives a promise, also of what is thrown", async () => {
    const fail = Endpoint({ name: "r" }).get("/x", (): number => {
      throw new RangeError("later");
    });
    const pending = fail();
    assert.ok(pending instanceof Promise);
    await assert.rejects(pending, RangeError);
  });

  test("functions keep their name, and Live ones their arity", () => {
    const named = remote(
      live,
      { method: "GET", path: "/n" },
      function hello(_a: number, _b: number) {},
    );
    assert.equal(named.name, "hello");
    assert.equal(named.length, 2);
    assert.equal(Endpoint({ name: "q" }, function work() {}).name, "work");
  });
});

describe("the instance of a class", () => {
  test("is created once, at first use, after init()", async () => {
    const log: string[] = [];
    const Model = Endpoint(
      { name: "m" },
      class {
        id = log.push("constructed");
        async init(): Promise<void> {
          await new Promise((resolve) => setImmediate(resolve));
          log.push("ready");
        }
        async who(): Promise<number> {
          log.push("called");
          return this.id;
        }
      },
    );
    assert.deepEqual(log, []);
    await Promise.all([Model.who(), new Model().who(), new Model().who()]);
    assert.deepEqual(log, ["constructed", "ready", "called", "called", "called"]);
  });

  test("that cannot be made fails its callers, and is tried again", async () => {
    let tries = 0;
    const Model = Endpoint(
      { name: "m" },
      class {
        async init(): Promise<void> {
          if (++tries === 1) throw new Error("no weights");
        }
        async go(): Promise<string> {
          return "went";
        }
      },
    );
    await assert.rejects(Model.go(), /no weights/);
    assert.equal(await Model.go(), "went");
  });

  test("has its inherited methods, its private ones for itself, and no fields for others", async () => {
    class Base {
      async base(): Promise<string> {
        return `base ${this._mark()}`;
      }
      _mark(): string {
        return "!";
      }
    }
    class Model extends Base {
      secret = 1;
      override _mark(): string {
        return "?";
      }
    }
    const Wrapped = remote(new LiveServerless({ name: "q" }), Model);
    assert.equal(await Wrapped.base(), "base ?");
    const instance = new Wrapped() as unknown as Record<string, unknown>;
    assert.equal(instance["secret"], undefined);
    assert.equal(instance["init"], undefined);
  });
});
