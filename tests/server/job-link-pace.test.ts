/** A job link whose worker is out of step: how much of it memory holds. The queue behind it is a small fake. */

import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { helloFrame, postFrame } from "../../src/contract/job-link.ts";
import type { TakenJob } from "../../src/contract/store.ts";
import { createLog } from "../../src/kit/log.ts";
import { JobLink } from "../../src/server/gateway/job-link.ts";
import type { Jobs } from "../../src/server/jobs/jobs.ts";
import { queuedJob } from "../../src/server/store/recent-jobs.ts";
import { until } from "../support/until.ts";
import { newJob } from "./store-support.ts";

const MIB = 1024 * 1024;
const SLOTS = 100;
const POSTS = 10_000;

/** A queue without an end, whose disk is as slow as the test wants. */
class FakeJobs {
  readonly isClosed = false;
  taken = 0;
  posted = 0;
  disk: Promise<void> = Promise.resolve();
  readonly #job = {
    ...queuedJob(newJob({ input: JSON.stringify("x".repeat(MIB)) })),
    attempt: 1,
  } as TakenJob;

  take({ limit }: { limit: number }): Promise<TakenJob[]> {
    assert.ok(limit > 0);
    this.taken++;
    return Promise.resolve([this.#job]);
  }

  async done(): Promise<void> {
    this.posted++;
    await this.disk;
  }

  async stopsFor(_worker: string, _holdMs: number, signal: AbortSignal): Promise<string[]> {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    return [];
  }

  listsAll(): void {}

  resume(): Promise<void> {
    return Promise.resolve();
  }

  putBack(): Promise<void> {
    return Promise.resolve();
  }
}

function openLink(t: TestContext, slots: number) {
  const [socket, worker] = duplexPair();
  const jobs = new FakeJobs();
  const link = new JobLink({
    jobs: jobs as unknown as Jobs,
    socket,
    endpointId: "ep1",
    releaseId: undefined,
    workerId: "wk1",
    isLocal: false,
    onSeen: () => undefined,
    log: createLog({ write: () => undefined }),
  });
  const served = link.serve(Buffer.alloc(0));
  t.after(async () => {
    link.close();
    await served;
  });
  worker.write(helloFrame([], slots));
  return { jobs, worker };
}

/** As long as it takes for whatever goes on by itself to show. */
async function turns(): Promise<void> {
  for (let n = 0; n < 200; n++) await setImmediate();
}

describe("a worker that is out of step", () => {
  test("is handed a bounded part of the queue while it does not read, and the rest then", async (t) => {
    const { jobs, worker } = openLink(t, SLOTS);
    await until(() => jobs.taken >= 32, { what: "the first jobs" });
    await turns();
    assert.ok(jobs.taken < 40, `${jobs.taken} were taken`);
    worker.resume();
    await until(() => jobs.taken === SLOTS, { what: "all jobs" });
  });

  test("is listened to as far as its posts are written, and to its end", async (t) => {
    const { jobs, worker } = openLink(t, 0);
    worker.resume();
    const disk = Promise.withResolvers<void>();
    jobs.disk = disk.promise;
    const about = { post: "progress", attempt: 1, text: "1" } as const;
    for (let n = 0; n < POSTS; n++) worker.write(postFrame({ ...about, jobId: `job-${n}` }));
    await until(() => jobs.posted > 0, { what: "the first posts" });
    await turns();
    assert.ok(jobs.posted < POSTS / 2, `${jobs.posted} were read`);
    disk.resolve();
    await until(() => jobs.posted === POSTS, { what: "all posts" });
  });
});
