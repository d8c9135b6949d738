/** Events: what is told, to whom, and what is left of it after a restart. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EventDocument } from "../../src/contract/events.ts";
import { serverSentEvents } from "../../src/kit/event-stream.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, backwards } from "./server-support.ts";

async function eventsOf(server: TestServer, query = ""): Promise<EventDocument[]> {
  const { status, text } = await server.request(`/api/v1/events?tail=1000&${query}`);
  assert.equal(status, 200, text);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EventDocument);
}

const SHOP = "app=shop&environment=production";

describe("events", () => {
  test("tell of releases, workers, the scaler and removals, in order, over a restart", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-home");
    const first = await TestServer.start(owner, { home });
    const api = {
      name: "api",
      kind: "lb" as const,
      options: { workers: [0, 1] as [number, number] },
    };
    const { endpoints } = await first.deploy("shop", [api]);
    const url = endpoints[0]?.url ?? "";
    await first.request(`${url}/pid`);
    await first.request(`${url}/die`, { method: "POST" });
    await until(async () => (await eventsOf(first, "kind=worker.crashed")).length === 1, {
      what: "the crash to be told",
    });
    await first.server.control.remove({ app: "shop", environment: "production" });
    const told = (await eventsOf(first, SHOP)).filter(({ kind }) => kind !== "endpoint.scaled");
    const kinds = told.map(({ kind }) => kind);
    assert.deepEqual(kinds.slice(0, 5), [
      "endpoint.added",
      "release.active",
      "worker.started",
      "worker.ready",
      "worker.crashed",
    ]);
    assert.ok(kinds.includes("endpoint.removed"));
    const crash = told.find(({ kind }) => kind === "worker.crashed");
    assert.match(crash?.message ?? "", /^worker \w+ of 'api' ended: signal SIGKILL$/);
    const ids = told.map(({ id }) => id);
    assert.deepEqual(ids, [...ids].sort());
    const scaled = await eventsOf(first, `${SHOP}&kind=endpoint&endpoint=api`);
    assert.ok(
      scaled.some(({ kind, details }) => kind === "endpoint.scaled" && details?.["targets"]),
    );
    await first.server.close({ graceMs: 0 });

    const second = await TestServer.start(owner, { home });
    const kept = await eventsOf(second);
    assert.deepEqual(
      kept.filter(({ kind }) => kind === "worker.crashed").map(({ id }) => id),
      [crash?.id],
    );
    assert.deepEqual(
      kept.filter(({ kind }) => kind.startsWith("server.")).map(({ kind }) => kind),
      ["server.started", "server.stopping", "server.started"],
    );
    const after = await eventsOf(second, `after=${kept.at(-2)?.id}`);
    assert.deepEqual(
      after.map(({ id }) => id),
      [kept.at(-1)?.id],
    );
  });

  test("a stream goes on from the last event that its reader has seen, without a gap", async (t) => {
    const server = await TestServer.start(backwards(t));
    await server.deploy("shop", [{ name: "one", kind: "lb" }]);
    const [start] = await eventsOf(server);
    const gone = new AbortController();
    const response = await fetch(`${server.url}/api/v1/events`, {
      headers: {
        authorization: `Bearer ${server.server.key}`,
        accept: "text/event-stream",
        "last-event-id": start?.id ?? "",
      },
      signal: gone.signal,
    });
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    await server.deploy("shop", [{ name: "two", kind: "lb" }]);
    assert.ok(response.body);
    const seen: string[] = [];
    for await (const { event, data } of serverSentEvents(response.body)) {
      const { kind, endpoint } = JSON.parse(data) as EventDocument;
      assert.equal(event, kind);
      if (/^endpoint\.(added|removed)$/.test(kind) || kind === "release.active")
        seen.push(`${kind} ${endpoint}`);
      if (seen.length === 5) break;
    }
    gone.abort();
    assert.deepEqual(seen, [
      "endpoint.added one",
      "release.active undefined",
      "endpoint.removed one",
      "endpoint.added two",
      "release.active undefined",
    ]);
  });
});
