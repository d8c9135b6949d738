/**
 * A store under load, made to be killed: submits, takes and completes as fast as it can, and reports
 * each acknowledged step on stdout with a synchronous write, so that no report is lost in a buffer.
 *
 *   node kill-child.ts <home> <round> [commitDelayMs]
 */

import { writeSync } from "node:fs";
import { openStore } from "../../src/server/store/store.ts";
import { newJob, takeOf } from "./store-support.ts";

const [home = "", round = "0", commitDelayMs] = process.argv.slice(2);
const failpoints = commitDelayMs === undefined ? {} : { commitDelayMs: Number(commitDelayMs) };
const { jobs } = openStore({ home, failpoints });

async function submitForever(lane: number): Promise<never> {
  for (let number = 0; ; number++) {
    const id = `r${round}-${lane}-${number}`;
    await jobs.submit([newJob({ id })]);
    writeSync(1, `accepted ${id}\n`);
  }
}

async function workForever(workerId: string): Promise<never> {
  for (;;) {
    const [job] = await jobs.take(takeOf({ workerId }));
    if (job === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    const { id: jobId, attempt } = job;
    const outcome = { kind: "completed", output: JSON.stringify(`${jobId} ${attempt}`) } as const;
    const settled = await jobs.settle({ jobId, attempt, outcome, now: 3000, retentionMs: 1e12 });
    if (settled !== undefined) writeSync(1, `completed ${jobId} ${attempt}\n`);
  }
}

const lanes = [0, 1, 2, 3].map(submitForever);
const workers = ["a", "b"].map((name) => workForever(`${round}${name}`));
await Promise.all([...lanes, ...workers]);
