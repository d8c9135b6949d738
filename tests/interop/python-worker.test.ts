/** The platform's own Python worker, unmodified, called in to image endpoints of a server of ours. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { suiteRig, type Release } from "./rig.ts";

const RELEASES: readonly Release[] = ["new", "old"];

for (const release of RELEASES) {
  describe(`runpod.serverless, ${release} release: results`, () => {
    const rig = suiteRig();

    test("what a handler returns, raises or reports is the job's end", async (t) => {
      const worker = await rig().worker(t, "plain", { release });
      const job = await rig().job("plain", { text: "naïve 🙂" });
      assert.equal(job.status, "COMPLETED", worker.program.output);
      const output = job.output as { echo: unknown; keys: string[] };
      assert.deepEqual(output.echo, { text: "naïve 🙂" });
      assert.ok(output.keys.includes("id") && output.keys.includes("input"));

      assert.deepEqual((await rig().job("plain", { none: true })).output ?? null, null);
      assert.deepEqual((await rig().job("plain", { empty: true })).status, "COMPLETED");

      const raised = await rig().job("plain", { raise: "no such model: ünknown" });
      assert.equal(raised.status, "FAILED");
      assert.equal(raised.retries, undefined, "a handler's error is final");
      const told = JSON.parse(raised.error ?? "") as Record<string, string>;
      assert.equal(told["error_type"], "<class 'ValueError'>");
      assert.equal(told["error_message"], "no such model: ünknown");

      const reported = await rig().job("plain", { error: { code: 7 }, with: { partial: 1 } });
      assert.equal(reported.status, "FAILED");
      assert.deepEqual(JSON.parse(reported.error ?? ""), { code: 7 });
      assert.deepEqual(reported.output, { partial: 1 });
    });

    test("results that are no JSON, or too large, fail with a reason", async (t) => {
      await rig().worker(t, "plain", { release });
      const nan = await rig().job("plain", { nan: true });
      assert.equal(nan.status, "FAILED");
      assert.match(nan.error ?? "", /NaN/);

      const large = await rig().job("plain", { bytes: 15_000_000 });
      assert.equal(large.status, "FAILED");
      assert.match(large.error ?? "", /over the limit of 10485760 bytes/);

      const { id } = await rig().submit("plain", { bytes: 15_000_000 }, "runsync");
      const allowed = await rig().status("plain", id);
      assert.equal(allowed.status, "COMPLETED");
      assert.equal((allowed.output as string).length, 15_000_000);
    });

    test("a generator streams, and returns what it streamed when it says so", async (t) => {
      await rig().worker(t, "generator", { release });
      const plain = await rig().submit("generator", { count: 4 });
      assert.deepEqual(await rig().drain("generator", plain.id), [0, 1, 2, 3].map(chunk));
      assert.deepEqual((await rig().status("generator", plain.id)).output, []);

      const broken = await rig().job("generator", { count: 4, raise_at: 2 });
      assert.equal(broken.status, "FAILED");
      assert.match(broken.error ?? "", /broke while streaming/);
      assert.deepEqual(await rig().drain("generator", broken.id), [0, 1].map(chunk));

      const reported = await rig().job("generator", { count: 4, error_at: 1 });
      // Old workers stream such a value as any other.
      assert.equal(reported.status, release === "new" ? "FAILED" : "COMPLETED");
      if (release === "new") assert.match(reported.error ?? "", /said so while streaming/);

      await rig().worker(t, "aggregate", { release });
      const aggregate = await rig().job("aggregate", { count: 3 });
      assert.deepEqual(aggregate.output, [0, 1, 2].map(chunk));
    });

    test("an async generator streams", async (t) => {
      await rig().worker(t, "async_generator", { release });
      const { id } = await rig().submit("async_generator", { count: 3, pause: 0.1 });
      assert.deepEqual(await rig().drain("async_generator", id), [0, 1, 2]);
      assert.deepEqual((await rig().status("async_generator", id)).output, [0, 1, 2]);
    });

    test("progress is seen while the job runs, and gone at its end", async (t) => {
      await rig().worker(t, "progress", { release });
      const gates = temporaryFolder(t, "flash-gates");
      const { id } = await rig().submit("progress", { gates });
      for (const step of [0, 1, 2]) {
        await until(
          async () => {
            const { status, output } = await rig().status("progress", id);
            return status === "IN_PROGRESS" && (output as { step?: number })?.step === step;
          },
          { what: `step ${step}` },
        );
        writeFileSync(path.join(gates, String(step)), "");
      }
      const done = await rig().untilStatus("progress", id, "COMPLETED");
      assert.equal(done.output, "done");
    });

    test("a concurrent worker runs three jobs at once", async (t) => {
      const worker = await rig().worker(t, "concurrent", { release });
      // Old releases do not say what they take together: there the jobs need not meet.
      const gate = path.join(temporaryFolder(t), "gate");
      if (release === "old") writeFileSync(gate, "");
      const jobs = await Promise.all(
        [1, 2, 3].map((label) => rig().submit("concurrent", { label, wait_for: gate })),
      );
      if (release === "new") {
        await until(() => worker.notes.filter((note) => note.startsWith("start")).length === 3, {
          what: "three starts",
        });
        for (const { id } of jobs) {
          assert.equal((await rig().status("concurrent", id)).status, "IN_PROGRESS");
        }
        writeFileSync(gate, "");
      }
      for (const { id } of jobs) await rig().untilStatus("concurrent", id, "COMPLETED");
    });
  });
}

function chunk(index: number): unknown {
  return { index, text: "é" };
}
