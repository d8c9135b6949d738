/** What the tests about stores share: stores that go away with the test, jobs to submit. */

import type { NewJob } from "../../src/contract/job.ts";
import type { TestContext } from "node:test";
import { openStore, type SqliteStore, type StoreOptions } from "../../src/server/store/store.ts";
import { newJobId } from "../../src/kit/ids.ts";
import { temporaryFolder } from "../support/temp.ts";

export function temporaryStore(t: TestContext, options: Partial<StoreOptions> = {}): SqliteStore {
  const store = openStore({ home: options.home ?? temporaryFolder(t), ...options });
  t.after(() => store.close());
  return store;
}

export function newJob(changes: Partial<NewJob> = {}): NewJob {
  return {
    id: newJobId("run"),
    endpointId: "ep1",
    releaseId: "rel_1",
    via: "run",
    input: '{"a":1}',
    policy: { executionTimeoutMs: 600_000, ttlMs: 86_400_000, lowPriority: false },
    webhook: null,
    extra: null,
    runAt: 1000,
    createdAt: 1000,
    idempotencyKey: null,
    key: null,
    keyConcurrency: 1,
    ...changes,
  };
}

/** Takes for `ep1` at time 2000 unless told otherwise. */
export function takeOf(changes: Partial<Parameters<SqliteStore["jobs"]["take"]>[0]> = {}) {
  return {
    endpointId: "ep1",
    workerId: "wk1",
    limit: 1,
    now: 2000,
    leaseUntil: 7000,
    ...changes,
  };
}
