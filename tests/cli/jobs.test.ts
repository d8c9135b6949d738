/** `flash jobs …` against a real server with jobs that fail. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { until } from "../support/until.ts";
import { TestServer } from "../server/server-support.ts";
import { machine } from "./cli.ts";

async function setUp(t: TestContext) {
  const server = await TestServer.start(t);
  const { endpoints } = await server.deploy("shop", [
    { name: "orders", kind: "qb", options: { retries: 0 } },
    { name: "front", kind: "lb" },
  ]);
  const url = `/v2/${endpoints.find(({ name }) => name === "orders")?.id}`;
  const { flash } = machine(t, {
    FLASH_URL: server.url,
    FLASH_API_KEY: server.server.key,
    FLASH_APP: "shop",
  });
  const submit = async (input: unknown): Promise<string> => {
    const body = JSON.stringify({ input });
    return (await server.request(`${url}/run`, { method: "POST", body })).json.id as string;
  };
  const untilIs = (id: string, status: string): Promise<boolean> =>
    until(async () => (await server.request(`${url}/status/${id}`)).json.status === status, {
      what: `${id} to be ${status}`,
    });
  return { flash, submit, untilIs };
}

test("jobs that failed for good are listed with their error, shown, and run again", async (t) => {
  const { flash, submit, untilIs } = await setUp(t);
  const failed = await submit({ error: JSON.stringify({ error_type: "E", error_message: "no" }) });
  const plain = await submit({ error: "plain words" });
  const good = await submit({});
  await Promise.all([
    untilIs(failed, "FAILED"),
    untilIs(plain, "FAILED"),
    untilIs(good, "COMPLETED"),
  ]);

  const all = await flash("jobs", "list", "orders");
  assert.equal(all.stdout.trim().split("\n").length, 3, all.stderr);
  assert.match(all.stderr, /3 of 3 jobs of orders/);
  const list = await flash("jobs", "list", "orders", "--state", "failed");
  assert.match(
    list.stdout,
    new RegExp(`${plain} {2}FAILED {2}plain words\n${failed} {2}FAILED {2}E: no\n`),
  );

  const shown = await flash("jobs", "show", "orders", plain, "--json");
  assert.deepEqual(JSON.parse(shown.stdout).error, "plain words");
  assert.match((await flash("jobs", "show", "orders", good)).stdout, /status +COMPLETED/);

  const one = await flash("jobs", "retry", "orders", plain);
  assert.match(one.stdout, new RegExp(`${plain} is IN_QUEUE`));
  await untilIs(plain, "FAILED");
  const every = await flash("jobs", "retry", "orders", "--all", "--json");
  const { jobs } = JSON.parse(every.stdout) as { jobs: { id: string }[] };
  assert.deepEqual(jobs.map(({ id }) => id).sort(), [failed, plain].sort());
  await Promise.all([untilIs(failed, "FAILED"), untilIs(plain, "FAILED")]);
});

test("a running job is cancelled", async (t) => {
  const { flash, submit, untilIs } = await setUp(t);
  const id = await submit({ sleepMs: 600_000 });
  await untilIs(id, "IN_PROGRESS");
  const { stdout, code } = await flash("jobs", "cancel", "orders", id);
  assert.match(stdout, new RegExp(`${id} is CANCELLED`));
  assert.equal(code, 0);
});

test("mistakes are named", async (t) => {
  const { flash } = await setUp(t);
  const mistakes: [string[], RegExp][] = [
    [["list", "nothing"], /'shop' has no endpoint 'nothing'[^]*orders/],
    [["list", "front"], /'front' is load-balanced: it has no jobs/],
    [["list", "orders", "--state", "LOST"], /There is no job state 'LOST'/],
    [["list", "orders", "--limit", "0"], /--limit takes a whole number from 1 to 1000/],
    [["show", "orders", "x"], /There is no job 'x'/],
    [["retry", "orders"], /Name one job, or say --all/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stderr } = await flash("jobs", ...args);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  }
});
