import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { readHistory } from "../../src/contract/job-failure.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { OVERTIME_GRACE_MS } from "../../src/server/jobs/attempts.ts";
import { Bells } from "../../src/server/jobs/bells.ts";
import type { Jobs } from "../../src/server/jobs/jobs.ts";
import { TARGET, setUp, settleDown } from "./jobs-support.ts";
import { openStore } from "../../src/server/store/store.ts";
import { StoppedClock } from "../support/clocks.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";

const MINUTE = 60_000;
const DAY_MS = 24 * 60 * MINUTE;
/** How a guest is gone: nobody sees its exit. */
const SILENT = { code: null, signal: null, logTail: [] };

function refusal(pattern: RegExp) {
  return (error: unknown): boolean =>
    FlashError.is(error) && error.code === "NOT_ACCEPTED" && pattern.test(error.message);
}

describe("submitting", () => {
  test("fills in the endpoint's and the platform's limits", async (t) => {
    const { jobs, submit } = await setUp(t);
    assert.deepEqual((await submit()).policy, {
      executionTimeoutMs: 10 * MINUTE,
      ttlMs: 24 * 60 * MINUTE,
      lowPriority: false,
    });
    const own = await jobs.submit({ ...TARGET, executionTimeoutMs: 9000 }, { input: 1 }, "run");
    assert.equal(own.policy.executionTimeoutMs, 9000);
    const asked = await submit({
      policy: { executionTimeout: 5000, ttl: 10_000, lowPriority: true },
    });
    assert.deepEqual(asked.policy, { executionTimeoutMs: 5000, ttlMs: 10_000, lowPriority: true });
  });

  test("names every field of the policy that is out of bounds, with the bounds", async (t) => {
    const { submit } = await setUp(t);
    await assert.rejects(
      submit({ policy: { executionTimeout: 4999, ttl: 1.5 } }),
      refusal(/policy\.executionTimeout .*from 5000 to 604800000, got 4999; policy\.ttl .* 10000 /),
    );
  });

  test("refuses webhooks that are no URL or point into a private network", async (t) => {
    const { submit } = await setUp(t);
    const hosts = ["localhost", "localhost.", "A.Localhost.", "127.1", "127.0.0.1.", "2130706433"];
    hosts.push("[::1]", "[::127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:0:127.0.0.1]");
    hosts.push("169.254.169.254", "[fd00::1]", "[fe80::1]", "[fec0::1]", "[feff::1]");
    const bad = ["nonsense", "ftp://example.com/", ...hosts.map((host) => `http://${host}/x`)];
    for (const webhook of bad) {
      await assert.rejects(submit({ webhook }), refusal(/webhook/), webhook);
    }
    for (const host of ["example.com", "example.com.", "localhost.example", "93.184.216.34"]) {
      const webhook = `https://${host}/`;
      assert.equal((await submit({ webhook })).webhook, webhook);
    }
    const webhook = "https://[2606:4700::1111]/";
    assert.equal((await submit({ webhook })).webhook, webhook);
  });

  test("a delayed job starts when its time has come and wakes a waiting worker", async (t) => {
    const { jobs, clock, submit, pass } = await setUp(t);
    const { id } = await submit({ runAt: clock.now() + 30_000 });
    const heard: string[] = [];
    jobs.onQueued((endpointId) => heard.push(endpointId));
    const poll = jobs.take({ endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: 60_000 });
    await pass(29_750);
    assert.deepEqual(heard, []);
    await pass(500);
    assert.deepEqual(heard, ["ep1"]);
    assert.equal((await poll)[0]?.id, id);
  });

  test("a delayed start beyond the time to live is refused", async (t) => {
    const { clock, submit } = await setUp(t);
    await assert.rejects(
      submit({ runAt: clock.now() + 10_000, policy: { ttl: 10_000 } }),
      refusal(/runAt/),
    );
  });

  test("a wall clock that is set back does not hold back what is queued", async (t) => {
    const { clock, submit, take } = await setUp(t);
    const { id } = await submit();
    clock.jump(-3_600_000);
    assert.equal((await take()).id, id);
  });
});

describe("polls", () => {
  test("a submission wakes exactly one poll, the one that waits longest", async (t) => {
    const { store, jobs, submit } = await setUp(t);
    const done: string[] = [];
    const poll = async (workerId: string) => {
      const taken = await jobs.take({ endpointId: "ep1", workerId, limit: 1, holdMs: MINUTE });
      done.push(`${workerId} ${taken.length}`);
    };
    const polls = [poll("wk1"), poll("wk2"), poll("wk3")];
    await settleDown(store);
    await submit();
    await settleDown(store);
    assert.deepEqual(done, ["wk1 1"]);
    await Promise.all([submit(), submit()]);
    await Promise.all(polls);
    assert.deepEqual(done, ["wk1 1", "wk2 1", "wk3 1"]);
  });

  test("submission and hand-over to a waiting worker are one transaction", async (t) => {
    const { store, jobs, submit } = await setUp(t);
    const poll = jobs.take({ endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: MINUTE });
    await settleDown(store);
    const before = store.statistics.commits;
    await submit();
    assert.equal((await poll).length, 1);
    assert.equal(store.statistics.commits - before, 1);
  });

  test("a poll ends with nothing when its hold is over", async (t) => {
    const { jobs, pass } = await setUp(t);
    const poll = jobs.take({ endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: 20_000 });
    await pass(20_000);
    assert.deepEqual(await poll, []);
  });

  test("a poll whose client is gone hands the wake-up to the next one", async (t) => {
    const { store, jobs, submit } = await setUp(t);
    const gone = new AbortController();
    const request = { endpointId: "ep1", limit: 1, holdMs: MINUTE };
    const first = jobs.take({ ...request, workerId: "wk1", signal: gone.signal });
    const second = jobs.take({ ...request, workerId: "wk2" });
    await settleDown(store);
    const submitted = submit();
    gone.abort();
    assert.deepEqual(await first, []);
    const { id } = await submitted;
    const [taken] = await second;
    assert.equal(taken?.id, id);
    assert.equal(taken.failures, 0);
  });

  test("a job taken for a client that went away meanwhile goes back", async (t) => {
    const { jobs, submit, get } = await setUp(t);
    const { id } = await submit();
    const gone = new AbortController();
    const request = { endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: MINUTE };
    const poll = jobs.take({ ...request, signal: gone.signal });
    gone.abort();
    assert.deepEqual(await poll, []);
    const job = await get(id);
    assert.deepEqual([job?.state, job?.failures], ["IN_QUEUE", 0]);
  });

  test("a job that could not be delivered goes back to its place without a failure", async (t) => {
    const { jobs, submit, take, get, clock } = await setUp(t);
    const first = await submit();
    clock.advance(10);
    await submit();
    await jobs.putBack([await take()]);
    assert.equal((await get(first.id))?.failures, 0);
    const again = await take();
    assert.equal(again.id, first.id);
    assert.equal(again.attempt, 2);
  });

  test("draining answers open polls at once and gives later ones nothing", async (t) => {
    const { store, jobs, submit, pass, get } = await setUp(t);
    const request = { endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: MINUTE };
    const open = jobs.take(request);
    const stops = jobs.stopsFor("wk1", MINUTE);
    await settleDown(store);
    jobs.drainWorker("wk1");
    assert.deepEqual(await open, []);
    assert.deepEqual(await stops, []);
    const { id } = await submit();
    const later = jobs.take(request);
    await pass(250);
    assert.deepEqual(await later, []);
    assert.equal((await get(id))?.state, "IN_QUEUE");
  });
});

describe("results", () => {
  test("a result completes the job and wakes who waits for it", async (t) => {
    const { jobs, submit, take } = await setUp(t);
    const { id } = await submit({}, "runsync");
    const waiting = jobs.waitFinal(id, MINUTE);
    const { attempt } = await take();
    const word = { jobId: id, workerId: "wk1", attempt };
    assert.equal(await jobs.done({ ...word, body: { output: { b: 2 } } }), "accepted");
    assert.equal((await waiting)?.output, '{"b":2}');
    assert.equal(await jobs.done({ ...word, body: { output: "late" } }), "stale");
  });

  test("a wait that ends first answers the job as it is, one that is aborted too", async (t) => {
    const { jobs, submit, pass } = await setUp(t);
    const { id } = await submit();
    const waiting = jobs.waitFinal(id, 1000);
    await pass(1000);
    assert.equal((await waiting)?.state, "IN_QUEUE");
    assert.equal((await jobs.waitFinal(id, MINUTE, AbortSignal.abort()))?.state, "IN_QUEUE");
    assert.equal(await jobs.waitFinal("unknown", MINUTE), undefined);
  });

  test("a wait notices within 5 s that its endpoint has been removed", async (t) => {
    const { store, jobs, submit, pass } = await setUp(t);
    const { id } = await submit();
    const waiting = jobs.waitFinal(id, MINUTE);
    await settleDown(store);
    await store.control.removeEndpoint("ep1", Date.UTC(2026, 0, 1));
    await pass(5000);
    assert.equal((await waiting)?.state, "CANCELLED");
  });

  test("words of another worker or of an earlier attempt are stale", async (t) => {
    const { jobs, submit, take } = await setUp(t);
    const { id } = await submit();
    await take();
    const body = { output: 1 };
    assert.equal(await jobs.done({ jobId: id, workerId: "wk2", body }), "stale");
    assert.equal(await jobs.done({ jobId: id, workerId: "wk1", attempt: 7, body }), "stale");
    assert.equal(await jobs.chunk({ jobId: id, workerId: "wk2", output: 1 }), "stale");
    assert.equal(await jobs.done({ jobId: "unknown", workerId: "wk1", body }), "stale");
    assert.equal(await jobs.done({ jobId: id, workerId: "wk1", body }), "accepted");
  });

  test("progress is the output until the result comes", async (t) => {
    const { jobs, submit, take, get } = await setUp(t);
    const { id } = await submit();
    await take();
    const word = { jobId: id, workerId: "wk1" };
    await jobs.done({ ...word, body: { status: "IN_PROGRESS", output: { step: 1 } } });
    assert.equal((await get(id))?.output, '{"step":1}');
    await jobs.done({ ...word, body: {} });
    assert.equal((await get(id))?.output, null);
    const late = { ...word, body: { status: "IN_PROGRESS", output: 9 } };
    assert.equal(await jobs.done(late), "stale");
  });

  test("an output over the limit fails the job and says so", async (t) => {
    const { jobs, submit, take, get } = await setUp(t);
    const { id } = await submit();
    await take();
    const output = "x".repeat(10 * 1024 * 1024 + 1);
    await jobs.done({ jobId: id, workerId: "wk1", body: { output } });
    const job = await get(id);
    assert.equal(job?.state, "FAILED");
    assert.match(job.error ?? "", /over the limit of 10485760 bytes/);
  });

  test("stopPod drains the worker after its result is kept", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit();
    await take();
    const stopped: string[] = [];
    jobs.onStopPod((workerId) => stopped.push(workerId));
    await jobs.done({ jobId: id, workerId: "wk1", body: { output: 1, stopPod: true } });
    assert.equal((await get(id))?.state, "COMPLETED");
    assert.deepEqual(stopped, ["wk1"]);
    await submit();
    const poll = jobs.take({ endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: MINUTE });
    await pass(250);
    assert.deepEqual(await poll, []);
  });
});

describe("errors of the function", () => {
  const rows = [
    { retries: 0, isCode: true, attempts: 1, delays: [] },
    { retries: 2, isCode: true, attempts: 3, delays: [500, 1000] },
    {
      retries: 8,
      isCode: true,
      attempts: 9,
      delays: [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000],
    },
    { retries: 2, isCode: false, attempts: 1, delays: [] },
  ];
  for (const { retries, isCode, attempts, delays } of rows) {
    const kind = isCode ? "code" : "an image";
    test(`with ${retries} retries ${kind} gets ${attempts} attempts, then the last error stays`, async (t) => {
      const { jobs, clock, submit, take, get, pass } = await setUp(t, { retries, isCode });
      const { id } = await submit();
      const waited: number[] = [];
      for (let number = 1; number <= attempts; number++) {
        await take();
        const body = { error: { message: `boom ${number}` } };
        await jobs.done({ jobId: id, workerId: "wk1", body });
        const job = await get(id);
        if (number === attempts) break;
        assert.equal(job?.state, "IN_QUEUE");
        waited.push(job.runAt - clock.now());
        await pass(job.runAt - clock.now());
      }
      assert.deepEqual(waited, delays);
      const job = await get(id);
      assert.equal(job?.state, "FAILED");
      assert.equal(job.error, `{"message":"boom ${attempts}"}`);
      assert.equal(job.failures, attempts - 1);
    });
  }

  test("an error that says it is final is not tried again", async (t) => {
    const { jobs, submit, take, get } = await setUp(t, { retries: 5 });
    const { id } = await submit();
    await take();
    const body = { error: "bad input", retryable: false, output: { partial: true } };
    await jobs.done({ jobId: id, workerId: "wk1", body });
    const job = await get(id);
    assert.deepEqual(
      [job?.state, job?.error, job?.output],
      ["FAILED", "bad input", '{"partial":true}'],
    );
  });

  test("an empty error is none", async (t) => {
    const { jobs, submit, take, get } = await setUp(t);
    const { id } = await submit();
    await take();
    await jobs.done({ jobId: id, workerId: "wk1", body: { error: "", output: 1 } });
    assert.equal((await get(id))?.state, "COMPLETED");
  });
});

describe("lost workers", () => {
  const killed = { code: null, signal: "SIGKILL", logTail: ["loading", "out of memory"] };

  for (const [retries, attempts] of [
    [0, 2],
    [1, 2],
    [3, 4],
  ] as const) {
    test(`with ${retries} retries a job survives ${attempts - 1} lost workers and keeps its place`, async (t) => {
      const { jobs, submit, take, get } = await setUp(t, { retries });
      const { id } = await submit();
      await submit();
      for (let number = 1; number <= attempts; number++) {
        assert.equal((await take(`wk${number}`)).id, id);
        await jobs.workerGone(`wk${number}`, killed);
      }
      const job = await get(id);
      assert.equal(job?.state, "FAILED");
      assert.equal(
        job.error,
        `job timed out after ${attempts - 1} retries: worker wk${attempts} was killed by SIGKILL; ` +
          "its last output:\n  loading\n  out of memory",
      );
      assert.equal(job.failures, attempts - 1);
    });
  }

  test("jobs of a frozen worker are neighbours, although they lapse one after another", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t, { retries: 5 });
    const ids: string[] = [];
    await jobs.ping("wk1", "ep1", []);
    for (let i = 0; i < 3; i++) {
      ids.push((await submit()).id);
      await take();
      await pass(1000);
    }
    // This one ends well, and is nobody's neighbour.
    const [done = ""] = ids.splice(1, 1);
    const word = { jobId: done, workerId: "wk1", attempt: 1, body: { output: 1 } };
    assert.equal(await jobs.done(word), "accepted");
    await pass(6000);
    for (const id of ids) {
      const job = await get(id);
      const [lapse] = readHistory(job?.history ?? null);
      assert.deepEqual([job?.state, job?.failures], ["IN_QUEUE", 0]);
      assert.deepEqual([lapse?.counted, lapse?.failure?.neighbours], [false, 1]);
    }
    // Alone on a worker that freezes, each has only itself to blame.
    for (const id of ids) {
      const again = await take();
      await pass(6000);
      const job = await get(again.id);
      assert.deepEqual([again.id, job?.failures], [id, 1]);
      assert.equal(readHistory(job?.history ?? null)[1]?.failure?.neighbours, undefined);
      await jobs.cancel(id);
    }
  });

  test("a worker's earlier jobs are no neighbours once it has pinged again", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    await jobs.ping("wk1", "ep1", []);
    const [first, second] = [await submit(), await submit()];
    await take();
    await take();
    for (let i = 0; i < 6; i++) {
      await pass(1000);
      await jobs.ping("wk1", "ep1", [second.id]);
    }
    assert.notEqual((await get(first.id))?.state, "IN_PROGRESS");
    await pass(6000);
    assert.deepEqual([(await get(second.id))?.failures], [1]);
  });

  /** A worker froze with two jobs: the lease of the first is over, the other one is still held. */
  async function halfLapsed(t: TestContext) {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const [first, second] = [await submit(), await submit()];
    await jobs.ping("wk1", "ep1", []);
    await take();
    await pass(3000);
    await take();
    await pass(3000);
    const states = [await get(first.id), await get(second.id)].map((job) => job?.state);
    assert.deepEqual(states, ["IN_QUEUE", "IN_PROGRESS"]);
    return { jobs, get, first, second };
  }

  for (const [how, end] of [
    ["ends", (jobs: Jobs) => jobs.workerGone("wk1", SILENT)],
    [
      "wakes up, says so and ends",
      async (jobs: Jobs, ids: string[]) => {
        await jobs.ping("wk1", "ep1", ids);
        await jobs.workerGone("wk1", SILENT);
      },
    ],
  ] as const) {
    test(`what a frozen worker still holds when it ${how} was not alone on it`, async (t) => {
      const { jobs, get, first, second } = await halfLapsed(t);
      await end(jobs, [first.id, second.id]);
      for (const { id } of [first, second]) {
        const job = await get(id);
        const [lapse] = readHistory(job?.history ?? null);
        assert.deepEqual([job?.state, job?.failures], ["IN_QUEUE", 0]);
        assert.deepEqual([lapse?.counted, lapse?.failure?.neighbours], [false, 1]);
      }
    });
  }

  test("what a frozen worker wakes up with and does not list any more is no company", async (t) => {
    const { jobs, get, second } = await halfLapsed(t);
    await jobs.ping("wk1", "ep1", [second.id]);
    await jobs.workerGone("wk1", SILENT);
    assert.equal((await get(second.id))?.failures, 1);
  });

  test("a worker that has pinged and falls silent is noticed within 5 s", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit();
    await take();
    const lost: string[] = [];
    jobs.onLost((job) => lost.push(job.workerId));
    for (let second = 0; second < 60; second++) {
      await jobs.ping("wk1", "ep1", [id]);
      await pass(1000);
    }
    assert.equal((await get(id))?.state, "IN_PROGRESS");
    await pass(3750);
    assert.equal((await get(id))?.state, "IN_PROGRESS");
    await pass(500);
    assert.equal((await get(id))?.state, "IN_QUEUE");
    assert.deepEqual(lost, ["wk1"]);
  });

  test("a server that has stood still itself hears its workers before it takes them for silent", async (t) => {
    const clock = new StoppedClock();
    const { jobs, submit, take, get, pass } = await setUp(t, { clock });
    const [heard, silent] = [await submit(), await submit()];
    await take("wk1");
    await take("wk2");
    await jobs.ping("wk1", "ep1", [heard.id]);
    await jobs.ping("wk2", "ep1", [silent.id]);
    await pass(4000);
    clock.standStill(60_000);
    await pass(1000);
    await jobs.ping("wk1", "ep1", [heard.id]);
    await pass(2000);
    assert.equal((await get(heard.id))?.state, "IN_PROGRESS");
    assert.equal((await get(silent.id))?.state, "IN_QUEUE");
  });

  test("what a frozen worker posts after its lease is stale, and it is told to stop", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit();
    await take("frozen");
    await jobs.ping("frozen", "ep1", [id]);
    await pass(5250);
    const second = await take("wk2");
    assert.equal(second.attempt, 2);
    const word = { jobId: id, workerId: "frozen", attempt: 1 };
    assert.equal(await jobs.done({ ...word, body: { output: "old" } }), "stale");
    assert.deepEqual(await jobs.stopsFor("frozen", 0), [id]);
    await jobs.done({ jobId: id, workerId: "wk2", body: { output: "new" } });
    assert.equal((await get(id))?.output, '"new"');
  });

  test("a jump of the wall clock ends no attempt", async (t) => {
    const { jobs, clock, submit, take, get, pass } = await setUp(t);
    const { id } = await submit({ policy: { ttl: 604_800_000 } });
    await take();
    await jobs.ping("wk1", "ep1", [id]);
    clock.jump(86_400_000);
    await pass(1000);
    await jobs.ping("wk1", "ep1", [id]);
    assert.equal((await get(id))?.state, "IN_PROGRESS");
  });

  test("a job missing from two pings in a row is lost inside its worker, from one not", async (t) => {
    const { jobs, submit, take, get } = await setUp(t);
    const { id } = await submit();
    await take();
    await jobs.ping("wk1", "ep1", [id]);
    await jobs.ping("wk1", "ep1", undefined);
    await jobs.ping("wk1", "ep1", [id]);
    await jobs.ping("wk1", "ep1", undefined);
    assert.equal((await get(id))?.state, "IN_PROGRESS");
    await jobs.ping("wk1", "ep1", undefined);
    assert.equal((await get(id))?.state, "IN_QUEUE");
  });

  test("a worker that pings without ever listing its jobs keeps them", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit();
    await take();
    for (let second = 0; second < 30; second++) {
      await jobs.ping("wk1", "ep1", undefined);
      await pass(1000);
    }
    assert.equal((await get(id))?.state, "IN_PROGRESS");
  });

  test("a job that its worker never lists beside others is lost after 5 s", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const [kept, dropped] = [await submit(), await submit()];
    await take();
    await take();
    for (let second = 0; second < 7; second++) {
      await jobs.ping("wk1", "ep1", [kept.id]);
      await pass(1000);
    }
    assert.equal((await get(kept.id))?.state, "IN_PROGRESS");
    assert.equal((await get(dropped.id))?.state, "IN_QUEUE");
  });

  test("a worker that takes a lost job again is not told to stop it", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit();
    await take();
    await jobs.ping("wk1", "ep1", [id]);
    await pass(5250);
    assert.equal((await get(id))?.state, "IN_QUEUE");
    await take();
    assert.deepEqual(await jobs.stopsFor("wk1", 0), []);
  });

  test("a worker that never pings is trusted until the execution timeout", async (t) => {
    const { submit, take, get, pass } = await setUp(t);
    const { id } = await submit({ policy: { executionTimeout: 60_000 } });
    await take();
    await pass(60_000 + OVERTIME_GRACE_MS - 250);
    assert.equal((await get(id))?.state, "IN_PROGRESS");
    await pass(500);
    assert.equal((await get(id))?.state, "FAILED");
  });

  test("a server that starts again puts running jobs back without blaming them", async (t) => {
    const store = openStore({ home: temporaryFolder(t) });
    const clock = new ManualClock();
    const before = await setUp(t, { store, clock });
    const { id } = await before.submit();
    await before.submit();
    await before.take("old");
    await before.take("alive");
    await before.jobs.close();
    const after = await setUp(t, { store, clock });
    await after.jobs.start({ livingWorkers: new Set(["alive"]) });
    const job = await after.get(id);
    assert.deepEqual([job?.state, job?.failures, job?.attempt], ["IN_QUEUE", 0, 1]);
  });
});

describe("limits in time", () => {
  test("the execution timeout fails the job, names the limit and has the worker ended", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t, { retries: 5 });
    const { id } = await submit({ policy: { executionTimeout: 5000 } });
    const { attempt } = await take();
    const overdue: string[] = [];
    jobs.onOverdue((job) => overdue.push(`${job.workerId} ${job.id}`));
    await pass(5000 + OVERTIME_GRACE_MS);
    const job = await get(id);
    assert.equal(job?.state, "FAILED");
    assert.match(job.error ?? "", /execution timeout of 5 s \(executionTimeout\)/);
    assert.deepEqual(overdue, [`wk1 ${id}`]);
    assert.deepEqual(await jobs.stopsFor("wk1", 0), [id]);
    const late = { jobId: id, workerId: "wk1", attempt, body: { output: 1 } };
    assert.equal(await jobs.done(late), "stale");
  });

  test("each attempt has the whole execution timeout", async (t) => {
    const { jobs, submit, take, get, pass } = await setUp(t);
    const { id } = await submit({ policy: { executionTimeout: 5000 } });
    await take();
    await pass(4000);
    await jobs.done({ jobId: id, workerId: "wk1", body: { error: "x" } });
    await pass(500);
    await take();
    await pass(4500);
    assert.equal((await get(id))?.state, "IN_PROGRESS");
  });

  for (const isRunning of [false, true]) {
    test(`a ${isRunning ? "running" : "queued"} job past its ttl is TIMED_OUT to who waits, then gone`, async (t) => {
      const { jobs, submit, take, get, pass } = await setUp(t);
      const { id } = await submit({ policy: { ttl: 10_000 } });
      if (isRunning) await take();
      const waiting = jobs.waitFinal(id, MINUTE);
      await pass(11_000);
      const job = await waiting;
      assert.equal(job?.state, "TIMED_OUT");
      assert.match(job.error ?? "", /time to live of 10 s/);
      assert.equal(await get(id), undefined);
      assert.deepEqual(await jobs.stopsFor("wk1", 0), isRunning ? [id] : []);
    });
  }

  test("a failed job outlives its result for those who ask for it, and can be sent back", async (t) => {
    const { jobs, submit, take, pass, get, clock } = await setUp(t, {
      retries: 0,
      keepFailed: { forMs: 2 * DAY_MS },
    });
    const failed = await submit({ idempotencyKey: "k", policy: { ttl: 10_000 } });
    await jobs.done({ jobId: failed.id, workerId: "wk1", body: { error: (await take()).id } });
    const expired = await submit({ policy: { ttl: 10_000 } });
    await pass(10_000);
    const completed = await submit();
    await jobs.done({ jobId: (await take()).id, workerId: "wk1", body: { output: 1 } });
    clock.advance(30 * 60_000);
    await pass(1000);
    const seen = async (kept: boolean) => {
      const all = [failed, expired, completed].map(({ id }) => jobs.get(id, { kept }));
      return (await Promise.all(all)).map((job) => job?.state);
    };
    assert.deepEqual(await seen(false), [undefined, undefined, undefined]);
    assert.deepEqual(await seen(true), ["FAILED", "TIMED_OUT", undefined]);
    const page = { endpointId: "ep1", offset: 0, limit: 10 };
    assert.deepEqual(await jobs.list(page), { jobs: [], total: 0 });
    assert.deepEqual(await jobs.failed(page), { jobs: [], total: 0 });
    assert.equal((await jobs.list({ ...page, kept: true })).total, 2);
    assert.equal((await jobs.failed({ ...page, kept: true })).jobs.length, 2);
    assert.equal(await jobs.retry(failed.id), undefined);
    assert.notEqual((await submit({ idempotencyKey: "k" })).id, failed.id, "its key is free");
    await jobs.purge("ep1");

    assert.equal((await jobs.retry(failed.id, { kept: true }))?.moved, true);
    assert.equal((await get(failed.id))?.input, '{"a":1}');
    const again = await take();
    assert.equal(again.id, failed.id);
    await jobs.done({ jobId: again.id, workerId: "wk1", body: { output: 2 } });
    assert.equal(await jobs.redrive("ep1", { kept: true }), 1);
    assert.equal((await take()).id, expired.id);
  });

  test("failed jobs are kept for as long as the server says, and the newest so many of an endpoint", async (t) => {
    const { jobs, store, submit, take, pass, clock } = await setUp(t, {
      retries: 0,
      keepFailed: { forMs: DAY_MS, jobs: 3 },
    });
    const ids: string[] = [];
    for (let count = 0; count < 5; count++) {
      ids.push((await submit()).id);
      await jobs.done({ jobId: (await take()).id, workerId: "wk1", body: { error: "no" } });
      await pass(1000);
    }
    clock.advance(31 * 60_000);
    await pass(1000);
    const page = { endpointId: "ep1", kept: true, offset: 0, limit: 10 };
    const { jobs: kept, total } = await jobs.failed(page);
    assert.deepEqual([kept.map(({ id }) => id), total], [ids.slice(2).toReversed(), 3]);
    clock.advance(DAY_MS - 31 * 60_000 - 6000);
    await pass(1000);
    assert.equal((await jobs.list(page)).total, 3);
    await pass(6000);
    assert.equal((await jobs.list(page)).total, 0);
    assert.equal(await store.jobs.get(ids[4] ?? ""), undefined);
  });

  test("many failed jobs are put aside in small steps, and none is lost on the way", async (t) => {
    const { jobs, store, clock, pass } = await setUp(t, { keepFailed: { jobs: 5000 } });
    const policy = { ttl: 10_000 };
    const submits = Array.from({ length: 1200 }, () =>
      jobs.submit(TARGET, { input: 1, policy }, "run"),
    );
    await Promise.all(submits);
    const page = { endpointId: "ep1", offset: 0, limit: 1 };
    clock.advance(10_001);
    await pass(1000);
    await until(async () => (await jobs.failed({ ...page, kept: true })).total === 1200, {
      what: "all are kept",
    });
    await until(async () => (await jobs.list(page)).total === 0, { what: "nobody sees them" });
    assert.equal(await store.jobs.drop(clock.now(), 500, { forMs: DAY_MS, jobs: 1000 }), 0);
  });

  test("a result of run is kept for 30 minutes, one of runsync for one", async (t) => {
    const { jobs, submit, take, get, clock } = await setUp(t);
    for (const [via, keptMs] of [
      ["run", 30 * MINUTE],
      ["runsync", MINUTE],
    ] as const) {
      const { id } = await submit({}, via);
      await take();
      await jobs.done({ jobId: id, workerId: "wk1", body: { output: 1 } });
      clock.advance(keptMs - 1);
      assert.equal((await get(id))?.state, "COMPLETED", via);
      clock.advance(1);
      assert.equal(await get(id), undefined, via);
    }
  });

  test("a result of runsync is kept for as long as its client was willing to wait", async (t) => {
    const { jobs, submit, take, get, clock } = await setUp(t);
    const { id } = await submit({}, "runsync");
    const waiting = jobs.waitFinal(id, 300_000);
    await take();
    await jobs.done({ jobId: id, workerId: "wk1", body: { output: 1 } });
    await waiting;
    clock.advance(299_999);
    assert.equal((await get(id))?.state, "COMPLETED");
    clock.advance(1);
    assert.equal(await get(id), undefined);
  });

  test("records are swept from the store when their time is over", async (t) => {
    const { store, jobs, submit, pass } = await setUp(t);
    const { id } = await submit({}, "runsync");
    await jobs.cancel(id);
    await pass(61_000);
    assert.equal(await store.jobs.get(id), undefined);
  });
});

describe("cancel, retry, purge", () => {
  test("cancelling a queued job ends it and wakes who waits", async (t) => {
    const { jobs, submit } = await setUp(t);
    const { id } = await submit();
    const waiting = jobs.waitFinal(id, MINUTE);
    assert.equal((await jobs.cancel(id))?.state, "CANCELLED");
    assert.equal((await waiting)?.state, "CANCELLED");
    assert.equal(await jobs.cancel("unknown"), undefined);
  });

  test("cancelling a running job tells its worker until it no longer lists it", async (t) => {
    const { jobs, submit, take, pass, store } = await setUp(t);
    const { id } = await submit();
    await take();
    await jobs.ping("wk1", "ep1", [id]);
    const told = jobs.stopsFor("wk1", MINUTE);
    await settleDown(store);
    await jobs.cancel(id);
    assert.deepEqual(await told, [id]);
    // Not again at once: the worker would poll in a circle.
    const again = jobs.stopsFor("wk1", MINUTE);
    await jobs.ping("wk1", "ep1", [id]);
    await pass(1000);
    assert.deepEqual(await again, [id]);
    await jobs.ping("wk1", "ep1", undefined);
    await pass(2000);
    assert.deepEqual(await jobs.stopsFor("wk1", 0), []);
    assert.equal(await jobs.done({ jobId: id, workerId: "wk1", body: { output: 1 } }), "stale");
  });

  test("a worker that has not heard of the cancellation yet still hears of it", async (t) => {
    const { jobs, submit, take } = await setUp(t);
    const { id } = await submit();
    await take();
    await jobs.cancel(id);
    // Sent before the worker had registered the job.
    await jobs.ping("wk1", "ep1", undefined);
    assert.deepEqual(await jobs.stopsFor("wk1", 0), [id]);
  });

  test("cancelling twice at once settles once", async (t) => {
    const { jobs, submit } = await setUp(t);
    const { id } = await submit();
    let settled = 0;
    jobs.onSettled(() => settled++);
    const results = await Promise.all([jobs.cancel(id), jobs.cancel(id)]);
    assert.deepEqual(
      results.map((job) => job?.state),
      ["CANCELLED", "CANCELLED"],
    );
    await jobs.cancel(id);
    assert.equal(settled, 1);
  });

  test("a failed job can be brought back by hand, another state cannot", async (t) => {
    const { jobs, submit, take, get } = await setUp(t, { retries: 0 });
    const { id } = await submit();
    assert.equal((await jobs.retry(id))?.moved, false);
    await take();
    await jobs.done({ jobId: id, workerId: "wk1", body: { error: "boom" } });
    assert.equal((await jobs.retry(id))?.moved, true);
    assert.equal((await take()).id, id);
    await jobs.done({ jobId: id, workerId: "wk1", body: { output: 1 } });
    const job = await get(id);
    assert.deepEqual([job?.state, job?.error], ["COMPLETED", null]);
  });

  test("purging cancels what waits and leaves what runs", async (t) => {
    const { jobs, submit, take, get } = await setUp(t);
    const running = await submit();
    await take();
    const waiting = await submit();
    const wait = jobs.waitFinal(waiting.id, MINUTE);
    assert.equal(await jobs.purge("ep1"), 1);
    assert.equal((await wait)?.state, "CANCELLED");
    assert.equal((await get(running.id))?.state, "IN_PROGRESS");
  });
});

describe("streams", () => {
  test("wait for a chunk, give each once, and end with the final state", async (t) => {
    const { store, jobs, submit, take } = await setUp(t);
    const { id } = await submit();
    await take();
    const word = { jobId: id, workerId: "wk1" };
    const first = jobs.stream(id, { waitMs: MINUTE });
    await settleDown(store);
    await jobs.chunk({ ...word, output: "a" });
    assert.deepEqual(await first, { status: "IN_PROGRESS", chunks: ['"a"'] });
    await jobs.chunk({ ...word, output: "b" });
    await jobs.done({ ...word, body: { output: [] } });
    assert.deepEqual(await jobs.stream(id, { waitMs: 0 }), {
      status: "COMPLETED",
      chunks: ['"b"'],
    });
    assert.deepEqual(await jobs.stream(id, { waitMs: 0 }), { status: "COMPLETED", chunks: [] });
  });

  test("a final status comes only when nothing is left to deliver", async (t) => {
    const { jobs, submit, take } = await setUp(t);
    const { id } = await submit();
    await take();
    const word = { jobId: id, workerId: "wk1" };
    await Promise.all(Array.from({ length: 150 }, (_, n) => jobs.chunk({ ...word, output: n })));
    await jobs.done({ ...word, body: { output: [] } });
    const answers = [
      await jobs.stream(id, { waitMs: 0 }),
      await jobs.stream(id, { waitMs: 0 }),
      await jobs.stream(id, { waitMs: 0 }),
    ];
    assert.deepEqual(
      answers.map((answer) => answer?.status),
      ["IN_PROGRESS", "COMPLETED", "COMPLETED"],
    );
    assert.deepEqual(
      answers.flatMap((answer) => answer?.chunks ?? []),
      Array.from({ length: 150 }, (_, n) => String(n)),
    );
  });

  test("a text over the size of a chunk arrives in pieces that make it up", async (t) => {
    const { jobs, submit, take } = await setUp(t);
    const { id } = await submit();
    await take();
    const text = "ab😀".repeat(600_000);
    await jobs.chunk({ jobId: id, workerId: "wk1", output: text });
    let whole = "";
    for (let answer = await jobs.stream(id, { waitMs: 0 }); answer !== undefined;) {
      for (const chunk of answer.chunks) {
        assert.ok(Buffer.byteLength(chunk) <= 1024 * 1024 + 2);
        whole += JSON.parse(chunk) as string;
      }
      if (answer.chunks.length === 0) break;
      answer = await jobs.stream(id, { waitMs: 0 });
    }
    assert.equal(whole, text);
  });

  test("the stream of a cancelled job says so for a while and is then not found", async (t) => {
    const { jobs, clock, submit } = await setUp(t);
    const { id } = await submit();
    await jobs.cancel(id);
    assert.equal((await jobs.stream(id, { waitMs: 0 }))?.status, "CANCELLED");
    clock.advance(10_001);
    assert.equal(await jobs.stream(id, { waitMs: 0 }), undefined);
  });
});

test("a bell that rings before anybody waits is heard", async () => {
  const bells = new Bells(new ManualClock());
  const bell = bells.hang("a");
  bells.ring("a");
  await bell.wait(MINUTE);
  bell.close();
});

test("closing ends every wait", async (t) => {
  const { store, jobs, submit } = await setUp(t);
  const { id } = await submit({ runAt: Date.UTC(2026, 0, 1) + 1000 });
  const waits = [
    jobs.waitFinal(id, MINUTE),
    jobs.stream(id, { waitMs: MINUTE }),
    jobs.stopsFor("wk1", MINUTE),
    jobs.take({ endpointId: "ep1", workerId: "wk1", limit: 1, holdMs: MINUTE }),
  ];
  await settleDown(store);
  await jobs.close();
  const [job, stream, stops, taken] = await Promise.all(waits);
  assert.ok(job !== undefined && stream !== undefined);
  assert.deepEqual([stops, taken], [[], []]);
});
