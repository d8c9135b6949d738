/** A Jobs over a real store and a clock that only moves when told. */

import type { TestContext } from "node:test";
import type { Job } from "../../src/contract/job.ts";
import type { TakenJob } from "../../src/contract/store.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { silentLog } from "../../src/kit/log.ts";
import { Jobs, type JobRequest, type JobsOptions } from "../../src/server/jobs/jobs.ts";
import { openStore, type SqliteStore } from "../../src/server/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";

export const TARGET = { endpointId: "ep1", releaseId: "rel_1", executionTimeoutMs: 0, retries: 2 };

export interface Setting {
  store: SqliteStore;
  clock: ManualClock;
  jobs: Jobs;
  /** Submits `{a: 1}` to `ep1`. */
  submit: (request?: Partial<JobRequest>, via?: "run" | "runsync") => Promise<Job>;
  /** Takes one job for `wk1` without waiting; fails when there is none. */
  take: (workerId?: string) => Promise<TakenJob>;
  /** Moves time in small steps, so that what each moment causes has happened before the next. */
  pass: (ms: number) => Promise<void>;
  get: (id: string) => Promise<Job | undefined>;
}

export async function setUp(
  t: TestContext,
  options: Partial<JobsOptions> & {
    retries?: number;
    isCode?: boolean;
    livingWorkers?: ReadonlySet<string>;
  } = {},
): Promise<Setting> {
  const store =
    (options.store as SqliteStore | undefined) ?? openStore({ home: temporaryFolder(t) });
  const clock = (options.clock as ManualClock | undefined) ?? new ManualClock();
  const { retries = 2, isCode = true, livingWorkers = new Set<string>() } = options;
  const jobs = new Jobs({
    store,
    clock,
    log: silentLog,
    targetOf: async () => ({ retries, isCode }),
    random: () => 0.5,
    ...options,
  });
  t.after(async () => {
    await jobs.close();
    await store.close();
  });
  await jobs.start({ livingWorkers });
  return {
    store,
    clock,
    jobs,
    submit: (request = {}, via = "run") =>
      jobs.submit(TARGET, { input: { a: 1 }, ...request }, via),
    async take(workerId = "wk1") {
      const [job] = await jobs.take({ endpointId: "ep1", workerId, limit: 1, holdMs: 0 });
      if (job === undefined) throw new Error("there is no job to take");
      return job;
    },
    async pass(ms) {
      await settleDown(store);
      for (let left = ms; left > 0; left -= 250) {
        clock.advance(Math.min(left, 250));
        await settleDown(store);
      }
    },
    get: (id) => jobs.get(id),
  };
}

/** Waits until nothing is on its way into the store any more, and nothing follows from what was. */
export async function settleDown(store: SqliteStore): Promise<void> {
  for (let quiet = 0; quiet < 3; quiet++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (store.statistics.pending > 0) quiet = -1;
  }
}
