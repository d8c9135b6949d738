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
  const submit = async (input: unknown, policy?: { key: string }): Promise<string> => {
    const body = JSON.stringify({ input, policy });
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
    new RegExp(
      `${plain} {2}FAILED {2}exception {2}plain words\n${failed} {2}FAILED {2}exception {2}E: no\n`,
    ),
  );

  const shown = await flash("jobs", "show", "orders", plain, "--json");
  assert.deepEqual(JSON.parse(shown.stdout).error, "plain words");
  assert.match((await flash("jobs", "show", "orders", good)).stdout, /status +COMPLETED/);

  const one = await flash("jobs", "retry", "orders", plain);
  assert.match(one.stdout, new RegExp(`${plain} is IN_QUEUE`));
  await untilIs(plain, "FAILED");
  const every = await flash("jobs", "retry", "orders", "--all", "--json");
  assert.deepEqual(JSON.parse(every.stdout), { moved: 2 });
  await Promise.all([untilIs(failed, "FAILED"), untilIs(plain, "FAILED")]);
});

test("failed jobs are chosen by cause and by key", async (t) => {
  const { flash, submit, untilIs } = await setUp(t);
  const thrown = await submit({ error: "no" }, { key: "customer-1" });
  const dead = await submit({ exit: 3 }, { key: "customer-2" });
  await Promise.all([untilIs(thrown, "FAILED"), untilIs(dead, "FAILED")]);
  const idsOf = async (...options: string[]): Promise<string[]> => {
    const { stdout } = await flash("jobs", "list", "orders", "--json", ...options);
    const { requests } = JSON.parse(stdout) as { requests: { id: string }[] };
    return requests.map(({ id }) => id);
  };
  assert.deepEqual(await idsOf("--kind", "exit"), [dead]);
  assert.deepEqual(await idsOf("--key", "customer-1"), [thrown]);
  assert.deepEqual(await idsOf("--kind", "exit", "--key", "customer-1"), []);

  const shown = (await flash("jobs", "show", "orders", dead)).stdout;
  assert.match(shown, /cause +exit: worker \w+ exited with code 3/);
  assert.match(shown, /attempts\n {2}1 {2}\d{4}-.*\n {2}2 {2}/);

  const some = await flash("jobs", "retry", "orders", "--all", "--kind", "exception");
  assert.match(some.stdout, /1 job back in the queue/);
  await untilIs(thrown, "FAILED");
  const none = await flash("jobs", "retry", "orders", "--all", "--key", "nobody");
  assert.match(none.stderr, /no such job of orders has failed/);
});

test("a replay is a new job with the same input", async (t) => {
  const { flash, submit, untilIs } = await setUp(t);
  const first = await submit({ value: 7 });
  await untilIs(first, "COMPLETED");
  const { stdout } = await flash("jobs", "replay", "orders", first, "--json");
  const { id, replayOf } = JSON.parse(stdout) as { id: string; replayOf: string };
  assert.equal(replayOf, first);
  assert.notEqual(id, first);
  await untilIs(id, "COMPLETED");
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
