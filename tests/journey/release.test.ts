/** Releases under load: nobody notices but by the answers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sandbox, workerPids } from "../support/flash.ts";
import { until } from "../support/until.ts";
import { adder, takesOver } from "./projects.ts";

/** Asks as fast as it is answered, with some requests in flight, until it is stopped. */
function askAll(
  sandbox: Sandbox,
  url: string,
): { answers: () => number; stop: () => Promise<string[]> } {
  const over = new AbortController();
  const seen: string[] = [];
  const ask = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const response = await sandbox.fetch(`${url}/who`);
      const text = await response.text();
      seen.push(response.ok ? (JSON.parse(text) as { marker: string }).marker : text);
    }
  };
  const askers = Array.from({ length: 8 }, ask);
  return {
    answers: () => seen.length,
    async stop() {
      over.abort();
      await Promise.all(askers);
      return seen;
    },
  };
}

test("every request during three releases is answered, by one of their versions", async (t) => {
  const sandbox = await Sandbox.open(t);
  const release = async (marker: string): Promise<string> => {
    const project = sandbox.project(adder("api", marker, "[1, 2]"), "rolling");
    return (await sandbox.deploy(project)).endpoint("api").url;
  };
  const url = await release("v1");
  const load = askAll(sandbox, url);
  const more = async (): Promise<void> => {
    const before = load.answers();
    await until(() => load.answers() > before + 10, { what: "more answers" });
  };
  await more();
  await release("v2");
  await more();
  await takesOver(() => release("v3"), {
    marker: "v3",
    ask: async () =>
      ((await (await sandbox.fetch(`${url}/who`)).json()) as { marker: string }).marker,
  });
  await more();
  const seen = await load.stop();
  const others = seen.filter((one) => !["v1", "v2", "v3"].includes(one));
  assert.deepEqual(others, []);
});

test("a worker that is killed under load costs at most the requests it had", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(adder("api", "v1", "[1, 1]")));
  const { id, url } = deployment.endpoint("api");
  const [first] = await until(
    () => {
      const pids = workerPids(sandbox.home, id);
      return pids.length > 0 && pids;
    },
    { what: "the worker" },
  );
  assert.ok(first);
  const load = askAll(sandbox, url);
  process.kill(first, "SIGKILL");
  await until(() => workerPids(sandbox.home, id).some((pid) => pid !== first), {
    what: "the next worker",
  });
  assert.equal((await sandbox.fetch(`${url}/who`)).status, 200);
  const failed = (await load.stop()).filter((one) => one !== "v1");
  assert.ok(failed.length <= 8, failed.join("\n"));
});
