import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import {
  ManualClock,
  abortable,
  backoffMs,
  createLog,
  entryText,
  deferred,
  newId,
  newJobId,
  newPrefixedId,
  newSecret,
  silentLog,
  sleep,
  systemClock,
  thisPlatform,
  uuidv7,
  type BackoffPolicy,
} from "../../src/kit/kit.ts";

describe("ManualClock", () => {
  test("stands still until it is moved, and moves both times", () => {
    const clock = new ManualClock(1000);
    assert.deepEqual([clock.now(), clock.elapsed()], [1000, 0]);
    clock.advance(250);
    assert.deepEqual([clock.now(), clock.elapsed()], [1250, 250]);
  });

  test("fires what is due in order, at its own time", () => {
    const clock = new ManualClock();
    const fired: [name: string, at: number][] = [];
    const mark = (name: string) => () => void fired.push([name, clock.elapsed()]);
    clock.after(20, mark("second"));
    clock.after(10, mark("first"));
    clock.after(20, mark("third"));
    clock.after(21, mark("not yet"));
    clock.advance(20);
    assert.deepEqual(fired, [
      ["first", 10],
      ["second", 20],
      ["third", 20],
    ]);
  });

  test("a timer set by a timer fires in the same move when it is due in it", () => {
    const clock = new ManualClock();
    let ticks = 0;
    const tick = (): void => {
      ticks++;
      clock.after(10, tick);
    };
    clock.after(10, tick);
    clock.advance(35);
    assert.equal(ticks, 3);
  });

  test("a cancelled timer does not fire, also when another one cancels it", () => {
    const clock = new ManualClock();
    let fired = 0;
    const cancel = clock.after(10, () => fired++);
    clock.after(5, cancel);
    clock.advance(100);
    cancel();
    assert.equal(fired, 0);
  });

  test("the wall clock may jump without firing anything", () => {
    const clock = new ManualClock(0);
    let fired = 0;
    clock.after(10, () => fired++);
    clock.jump(3_600_000);
    assert.deepEqual([clock.now(), clock.elapsed(), fired], [3_600_000, 0, 0]);
    clock.jump(-7_200_000);
    clock.advance(10);
    assert.deepEqual([clock.now(), fired], [-3_599_990, 1]);
  });
});

test("the system's clock calls at once, without a word, for a time that is over", async (t) => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const asleep = deferred<void>();
  systemClock.after(-5, asleep.resolve);
  // The clock's timers keep no process alive.
  const life = setInterval(() => {}, 1000);
  t.after(() => clearInterval(life));
  await asleep.promise;
  assert.deepEqual(warnings, []);
});

describe("sleep", () => {
  test("resolves after its time", async () => {
    const clock = new ManualClock();
    let isAwake = false;
    const asleep = sleep(clock, 100).then(() => (isAwake = true));
    clock.advance(99);
    await Promise.resolve();
    assert.equal(isAwake, false);
    clock.advance(1);
    await asleep;
  });

  test("rejects with the reason when it is aborted, before or while it sleeps", async () => {
    const clock = new ManualClock();
    const reason = new Error("enough");
    await assert.rejects(sleep(clock, 100, AbortSignal.abort(reason)), reason);
    const controller = new AbortController();
    const asleep = sleep(clock, 100, controller.signal);
    controller.abort(reason);
    await assert.rejects(asleep, reason);
    clock.advance(100);
  });

  test("works on the system's clock, whose two times go on", async () => {
    const before = [systemClock.now(), systemClock.elapsed()] as const;
    // The clock's timers keep no process alive by themselves.
    const keepAlive = setInterval(() => undefined, 1000);
    await sleep(systemClock, 5);
    clearInterval(keepAlive);
    assert.ok(systemClock.now() >= before[0] + 4);
    assert.ok(systemClock.elapsed() > before[1] + 4);
  });

  test("a wait longer than a timer can hold does not end at once", async () => {
    const warned: Error[] = [];
    const onWarning = (warning: Error): void => void warned.push(warning);
    process.on("warning", onWarning);
    const cancel = systemClock.after(2 ** 40, () => assert.fail("fired"));
    await once(setTimeoutEvent(), "done");
    cancel();
    process.off("warning", onWarning);
    assert.deepEqual(warned, []);
  });
});

/** Emits `done` two turns of the event loop later, when a timer of 1 ms would have fired. */
function setTimeoutEvent(): EventTarget {
  const target = new EventTarget();
  setTimeout(() => setImmediate(() => target.dispatchEvent(new Event("done"))), 2);
  return target;
}

describe("backoff", () => {
  const policy: BackoffPolicy = { baseMs: 100, factor: 2, capMs: 1000, jitter: 0.2 };

  test("grows by the factor up to the cap", () => {
    const delays = [0, 1, 2, 3, 4, 50, 5000].map((tries) => backoffMs(policy, tries, 0.5));
    assert.deepEqual(delays, [100, 200, 400, 800, 1000, 1000, 1000]);
  });

  test("spreads by the jitter to both sides", () => {
    assert.equal(backoffMs(policy, 0, 0), 80);
    assert.equal(backoffMs(policy, 0, 1), 120);
    assert.equal(backoffMs({ ...policy, jitter: 0 }, 0, 0), 100);
    for (let index = 0; index < 1000; index++) {
      const delay = backoffMs(policy, 1);
      assert.ok(delay >= 160 && delay <= 240 && Number.isInteger(delay));
    }
  });
});

describe("identifiers", () => {
  const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

  test("uuidv7 has the shape of version 7, variant 10xx", () => {
    for (let index = 0; index < 10_000; index++) assert.match(uuidv7(), UUID);
  });

  test("uuidv7 holds its time", () => {
    const now = Date.now() + 1_000_000;
    const id = uuidv7(now);
    assert.equal(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16), now);
  });

  test("uuidv7 grows strictly: within a millisecond, past its counter, when the clock goes back", () => {
    const now = Date.now() + 2_000_000;
    const times = Array.from({ length: 20_000 }, (_, index) => {
      if (index % 7 === 0) return now - 60_000;
      return index % 3 === 0 ? now + index / 1000 : now;
    });
    const ids = times.map((time) => uuidv7(time));
    for (const [index, id] of ids.entries()) {
      assert.match(id, UUID);
      const before = ids[index - 1];
      assert.ok(before === undefined || before < id, `${before} < ${id}`);
    }
  });

  test("newId is lower-case letters and digits of the wanted length, starting with a letter", () => {
    for (const length of [1, 4, 12, 40]) {
      for (let index = 0; index < 500; index++) {
        const id = newId(length);
        assert.equal(id.length, length);
        assert.match(id, /^[a-z][0-9a-z]*$/);
      }
    }
    assert.equal(new Set(Array.from({ length: 10_000 }, () => newId())).size, 10_000);
    assert.match(newPrefixedId("build"), /^build_[a-z][0-9a-z]{11}$/);
  });

  test("newId uses the whole alphabet evenly", () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 5000; index++) {
      for (const letter of newId(13).slice(1)) counts.set(letter, (counts.get(letter) ?? 0) + 1);
    }
    const mean = 60_000 / 36;
    assert.equal(counts.size, 36);
    // Seven standard deviations: fails by chance less than once in 10^10 runs.
    for (const [letter, seen] of counts) {
      assert.ok(Math.abs(seen - mean) < 7 * Math.sqrt(mean), `${letter}: ${seen}`);
    }
  });

  test("job ids say which operation made them and go into a URL as they are", () => {
    assert.match(newJobId("run"), /^[0-9a-f]{8}-[0-9a-f-]{27}-u1$/);
    assert.match(newJobId("runsync"), /^sync-[0-9a-f]{8}-[0-9a-f-]{27}-u1$/);
    assert.equal(encodeURIComponent(newJobId("runsync")).startsWith("sync-"), true);
  });

  test("newSecret is 32 random bytes as base64url behind its prefix", () => {
    const secrets = Array.from({ length: 1000 }, () => newSecret("fk"));
    for (const secret of secrets) {
      assert.match(secret, /^fk_[A-Za-z0-9_-]{43}$/);
      assert.equal(Buffer.from(secret.slice(3), "base64url").length, 32);
    }
    assert.equal(new Set(secrets).size, secrets.length);
  });
});

describe("abortable", () => {
  test("settles with the work when nothing is aborted", async () => {
    const { signal } = new AbortController();
    assert.equal(await abortable(Promise.resolve(1), signal), 1);
    assert.equal(await abortable(Promise.resolve(2), undefined), 2);
    await assert.rejects(abortable(Promise.reject(new Error("own")), signal), /own/);
  });

  test("rejects with the reason as soon as the signal aborts", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const never = abortable(deferred<void>().promise, controller.signal);
    controller.abort(reason);
    await assert.rejects(never, reason);
    await assert.rejects(abortable(Promise.resolve(1), AbortSignal.abort(reason)), reason);
  });

  test("work that fails after the abort is no unhandled rejection", async () => {
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", onUnhandled);
    const late = deferred<void>();
    await assert.rejects(abortable(late.promise, AbortSignal.abort(new Error("enough"))), /enough/);
    late.reject(new Error("late"));
    await once(setTimeoutEvent(), "done");
    process.off("unhandledRejection", onUnhandled);
    assert.deepEqual(unhandled, []);
  });
});

describe("log", () => {
  const now = (): number => Date.UTC(2026, 0, 31, 13, 45, 7);

  test("people read stacks, causes and frames on lines of their own", () => {
    const cause = { name: "E", message: "why", stack: "E: why\n    at b (b.ts:2:1)" };
    const error = { name: "E", message: "no", stack: "E: no\n    at a (a.ts:1:1)", cause };
    assert.equal(
      entryText("it failed", { status: 500, error, frame: "> 1 | x" }),
      [
        "it failed status=500",
        "  E: no",
        "      at a (a.ts:1:1)",
        "  caused by: E: why",
        "      at b (b.ts:2:1)",
        "  > 1 | x",
      ].join("\n"),
    );
    // Whatever else somebody calls `error` stays where it was.
    assert.equal(entryText("m", { error: "plain", n: 1 }), "m n=1 error=plain");
    assert.equal(entryText("m", { error: { stack: "one line" } }), 'm error={"stack":"one line"}');
    assert.equal(entryText("m", {}), "m");
  });

  test("one JSON object a line, with the fields of all its ancestors", () => {
    const lines: string[] = [];
    const log = createLog({ write: (line) => lines.push(line), now });
    log.with({ endpoint: "a" }).with({ job: "j" }).warn("slow", { ms: 5 });
    assert.deepEqual(lines, [
      '{"time":"2026-01-31T13:45:07.000Z","level":"warn","message":"slow","endpoint":"a","job":"j","ms":5}\n',
    ]);
  });

  test("short lines for people", () => {
    const lines: string[] = [];
    const log = createLog({ write: (line) => lines.push(line), now, format: "text" });
    log.info("ready", { port: 4747, name: "a" });
    assert.deepEqual(lines, ["13:45:07 info  ready port=4747 name=a\n"]);
  });

  test("fields that JSON cannot hold do not break the line, nor replace its head", () => {
    const lines: Record<string, unknown>[] = [];
    const write = (line: string): void =>
      void lines.push(JSON.parse(line) as Record<string, unknown>);
    const log = createLog({ write, now });
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    log.info("a", { big: 5n, error: new TypeError("bad") });
    log.info("b", { loop });
    log.info("c", { message: "other", level: "other" });
    assert.equal(lines[0]?.big, "5");
    assert.equal((lines[0]?.error as Error | undefined)?.message, "bad");
    assert.equal(lines[1]?.message, "b");
    assert.deepEqual([lines[2]?.message, lines[2]?.level], ["c", "info"]);
    const texts: string[] = [];
    const text = createLog({ write: (line) => texts.push(line), format: "text" });
    text.info("d", { loop, nothing: undefined });
    assert.match(texts[0] ?? "", / d /);
  });

  test("nothing below the level", () => {
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    const log = createLog({ write, level: "warn" });
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { message: string }).message),
      ["c", "d"],
    );
    createLog({ write }).debug("e");
    assert.equal(lines.length, 2);
    silentLog.error("nowhere");
  });
});

test("the platform is that of this process, and says which C library it has", () => {
  const { os, cpu, libc } = thisPlatform();
  assert.deepEqual([os, cpu], [process.platform, process.arch]);
  assert.equal(libc === null, process.platform !== "linux");
});
