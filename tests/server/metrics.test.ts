/** `/metrics`: valid to a strict reader, counting what happens, and bounded whatever happens. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Histogram } from "../../src/kit/histogram.ts";
import { Family } from "../../src/server/metrics/exposition.ts";
import { until } from "../support/until.ts";
import { Queue, deployCode } from "./code-support.ts";
import { parseExposition, type MetricFamily } from "./exposition.ts";
import { TestServer, backwards } from "./server-support.ts";

const CODE = `
export const work = queue(async (input) => {
  if (input === "bad") throw new Error("bad input");
  return input;
});
`;

async function scrape(server: TestServer): Promise<Map<string, MetricFamily>> {
  const { status, headers, text } = await server.request("/metrics");
  assert.equal(status, 200, text);
  assert.match(headers["content-type"] ?? "", /^text\/plain; version=0\.0\.4/);
  return parseExposition(text);
}

/** The sum of all samples with these labels. */
function sumOf(
  families: Map<string, MetricFamily>,
  name: string,
  labels: Record<string, string> = {},
): number {
  const family = families.get(name) ?? families.get(name.replace(/_(count|sum)$/, ""));
  const samples = (family?.samples ?? []).filter(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  return samples.reduce((sum, { value }) => sum + value, 0);
}

describe("metrics", () => {
  test("jobs are counted by endpoint and outcome, with their waits and times", async (t) => {
    const server = await TestServer.start(backwards(t));
    const options = { retries: 0, workers: [0, 1] as [number, number] };
    const deployed = await deployCode(t, server, [{ name: "work", options, code: CODE }]);
    const queue = new Queue(server, deployed.get("work"));
    for (const input of ["a", "b", "bad"]) await queue.finished(await queue.submit(input));
    const families = await scrape(server);
    const endpoint = { app: "code", environment: "production", endpoint: "work" };
    const jobs = (outcome: string): number =>
      sumOf(families, "flash_jobs_total", { ...endpoint, outcome });
    assert.deepEqual([jobs("COMPLETED"), jobs("FAILED"), jobs("CANCELLED")], [2, 1, 0]);
    for (const name of ["flash_job_queue_seconds_count", "flash_job_execution_seconds_count"]) {
      assert.equal(sumOf(families, name, endpoint), 3, name);
    }
    assert.equal(sumOf(families, "flash_queue_jobs_waiting", endpoint), 0);
    assert.equal(sumOf(families, "flash_worker_starts_total", endpoint), 1);
    assert.equal(sumOf(families, "flash_worker_start_seconds_count", endpoint), 1);
    assert.equal(sumOf(families, "flash_workers", endpoint), 1);
    assert.ok(sumOf(families, "flash_store_commit_seconds_count") > 0);
    assert.ok(sumOf(families, "flash_store_group_operations_sum") > 0);
    assert.ok(sumOf(families, "process_resident_memory_bytes") > 0);
    const labels = [...families.values()].flatMap(({ samples }) =>
      samples.flatMap((sample) => Object.keys(sample.labels)),
    );
    const known = new Set("app environment endpoint outcome state le version".split(" "));
    assert.deepEqual(
      [...new Set(labels)].filter((label) => !known.has(label)),
      [],
    );
  });

  test("requests are counted however they end, and crashes of workers", async (t) => {
    const server = await TestServer.start(backwards(t));
    const { endpoints } = await server.deploy("shop", [
      { name: "api", kind: "lb", options: { workers: [0, 1] } },
    ]);
    const url = endpoints[0]?.url ?? "";
    for (let count = 0; count < 5; count++) await server.request(`${url}/pid`);
    await server.request(`${url}/pid`, { method: "POST", body: "x".repeat(100_000) });
    await server.request(`${url}/204`);
    assert.equal((await server.request(`${url}/die`, { method: "POST" })).status, 502);
    const api = { endpoint: "api" };
    const families = await until(
      async () => {
        const found = await scrape(server);
        const isComplete =
          sumOf(found, "flash_worker_crashes_total") === 1 &&
          sumOf(found, "flash_request_seconds_count", api) === 8;
        return isComplete && found;
      },
      { what: "the crash, and all requests" },
    );
    assert.equal(sumOf(families, "flash_requests_total", { ...api, outcome: "2xx" }), 7);
    assert.equal(sumOf(families, "flash_requests_total", { ...api, outcome: "5xx" }), 1);
    assert.equal((await server.request("/metrics", { method: "POST" })).status, 405);
    assert.equal((await server.request("/metrics", { key: null })).status, 401);
    await server.server.control.remove({ app: "shop", environment: "production" });
    assert.equal((await scrape(server)).get("flash_requests_total"), undefined);
  });
});

describe("the text format", () => {
  test("escapes what labels and help may hold, and says infinity its own way", () => {
    const family = new Family("odd_gauge", "gauge", "two\nlines and a \\")
      .add(Number.POSITIVE_INFINITY, { name: 'a "quote", a \\ and\na line' })
      .add(0.5);
    const parsed = parseExposition(family.text).get("odd_gauge");
    assert.equal(parsed?.help, "two\\nlines and a \\\\");
    assert.deepEqual(parsed?.samples, [
      { name: "odd_gauge", labels: { name: 'a "quote", a \\ and\na line' }, value: Infinity },
      { name: "odd_gauge", labels: {}, value: 0.5 },
    ]);
    assert.equal(new Family("none", "gauge", "nothing").text, "");
  });

  test("a histogram counts a value into the first bucket that holds it", () => {
    const histogram = new Histogram([1, 2]);
    for (const value of [0, 1, 1.5, 2, 3]) histogram.observe(value);
    assert.deepEqual([...histogram.counts], [2, 2, 1]);
    const family = new Family("size", "histogram", "sizes").addHistogram(histogram);
    const samples = parseExposition(family.text).get("size")?.samples ?? [];
    assert.deepEqual(
      samples.map(({ name, value }) => `${name} ${value}`),
      ["size_bucket 2", "size_bucket 4", "size_bucket 5", "size_sum 7.5", "size_count 5"],
    );
  });
});
