/**
 * More requests than the workers of a load-balanced endpoint get done: no worker gets more than its
 * `maxConcurrency`, the others wait in order, and who would wait too long is refused at once.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { Clock } from "../../src/kit/clock.ts";
import { retryAfterS, roomAt, ServiceRate } from "../../src/server/workers/overload.ts";
import { fastClock } from "../support/clocks.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { deployCode } from "./code-support.ts";
import { backwards, TestServer, type Answer } from "./server-support.ts";

/** Requests of our own kind, and requests that only node:http reads. */
const WAYS = { "at the edge": {}, "by node:http": { "keep-alive": "timeout=5" } } as const;

/** Says who came, with how many that were there then, and stays for a while or until it is let go. */
const CODE = `
import { appendFileSync, existsSync } from "node:fs";
let inside = 0;
const visit = async (stay) => {
  const id = new URL(context().request.url, "http://flash").searchParams.get("id");
  inside += 1;
  appendFileSync(process.env.VISITS, id + " " + inside + "\\n");
  await stay();
  inside -= 1;
  return id;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
route("GET", "/gate", () => visit(async () => {
  while (!existsSync(process.env.GATE)) await sleep(5);
}));
route("GET", "/slow", () => visit(() => sleep(100)));`;

interface House {
  server: TestServer;
  ask: (path: string, signal?: AbortSignal) => Promise<Answer>;
  askNeighbour: () => Promise<Answer>;
  /** Lets everybody at the gate go. */
  open: () => void;
  /** Who came, in order, and how many were inside then. */
  visits: () => { id: string; inside: number }[];
  /** Until so many run and so many wait. */
  untilThere: (inProgress: number, inQueue: number) => Promise<void>;
}

async function house(t: TestContext, { headers, maxConcurrency, clock }: Setting): Promise<House> {
  const owner = backwards(t);
  const folder = temporaryFolder(owner, "flash-overload");
  const env = { GATE: path.join(folder, "gate"), VISITS: path.join(folder, "visits") };
  const server = await TestServer.start(owner, clock === undefined ? {} : { clock });
  const routes = ["GET /gate", "GET /slow"];
  const options = { workers: [1, 1] as [number, number], env };
  const endpoints = await deployCode(
    owner,
    server,
    [
      { name: "api", routes, code: CODE, options: { ...options, maxConcurrency } },
      { name: "neighbour", routes, code: CODE, options },
    ],
    { wrapsInput: false },
  );
  const urlOf = (name: string): string => endpoints.get(name)?.url ?? "";
  const visits = (): { id: string; inside: number }[] => {
    if (!existsSync(env.VISITS)) return [];
    const lines = readFileSync(env.VISITS, "utf8").trim().split("\n");
    return lines.map((line) => {
      const [id = "", inside] = line.split(" ");
      return { id, inside: Number(inside) };
    });
  };
  const ask = (where: string, signal?: AbortSignal): Promise<Answer> =>
    server.request(`${urlOf("api")}${where}`, {
      headers,
      ...(signal === undefined ? {} : { signal }),
    });
  // From here on the worker is there, with its link.
  for (let times = 0; times < 3; times++) assert.equal((await ask("/slow?id=first")).status, 200);
  return {
    server,
    ask,
    askNeighbour: () => server.request(`${urlOf("neighbour")}/slow?id=neighbour`, { headers }),
    open: () => writeFileSync(env.GATE, ""),
    visits: () => visits().filter(({ id }) => id !== "first" && id !== "neighbour"),
    untilThere: async (inProgress, inQueue) => {
      await until(
        async () => {
          const { jobs } = await server.status("code", "api");
          return jobs.inProgress === inProgress && jobs.inQueue === inQueue;
        },
        { what: `${inProgress} running and ${inQueue} waiting` },
      );
    },
  };
}

interface Setting {
  headers: Readonly<Record<string, string>>;
  maxConcurrency: number;
  clock?: Clock;
}

for (const [way, headers] of Object.entries(WAYS)) {
  describe(`a worker at its limit, ${way}`, () => {
    test("gets no more requests; those that wait for it come in their order", async (t) => {
      const { ask, open, visits, untilThere } = await house(t, { headers, maxConcurrency: 2 });
      const answers: Promise<Answer>[] = [];
      const names = ["a", "b", "c", "d", "e", "f", "g"];
      for (const [index, name] of names.entries()) {
        answers.push(ask(`/gate?id=${name}`));
        await untilThere(Math.min(2, index + 1), Math.max(0, index - 1));
      }
      const gone = new AbortController();
      const left = assert.rejects(ask("/gate?id=left", gone.signal));
      await untilThere(2, names.length - 1);
      gone.abort();
      await left;
      await untilThere(2, names.length - 2);
      open();
      for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
      const came = visits().map(({ id }) => id);
      assert.deepEqual(came, names);
      assert.ok(visits().every(({ inside }) => inside <= 2));
    });

    test("ten times too much: who would wait too long is refused while others are served", async (t) => {
      // The bounds of a queue are half a minute, in which this worker gets 1200 done: here they are five seconds.
      const clock = fastClock(6);
      const setting = { headers, maxConcurrency: 4, clock };
      const { ask, askNeighbour, visits, untilThere } = await house(t, setting);
      const statuses: number[] = [];
      let neighbour: Promise<Answer> | undefined;
      const all = Array.from({ length: 400 }, async (_, id) => {
        const answer = await ask(`/slow?id=${id}`);
        statuses.push(answer.status);
        if (answer.status !== 200) neighbour ??= askNeighbour();
        return answer;
      });
      const answers = await Promise.all(all);
      const refused = answers.filter(({ status }) => status !== 200);
      assert.ok(refused.length > 0, "somebody is refused");
      for (const { status, json, headers: said } of refused) {
        assert.equal(status, 429);
        assert.equal(json.code, "OVERLOADED");
        assert.match(String(said["content-type"]), /problem\+json/);
        assert.match(String(said["retry-after"]), /^[1-9]\d?$/);
      }
      // Refused early: others were still being served, and a good part of what can be done was done.
      assert.ok(statuses.slice(statuses.indexOf(429)).includes(200));
      const served = answers.length - refused.length;
      assert.ok(served >= 8, `${served} are served`);
      assert.equal(visits().length, served, "what is refused reaches no worker");
      assert.ok(visits().every(({ inside }) => inside <= 4));
      assert.equal((await neighbour)?.status, 200);
      await untilThere(0, 0);
      assert.equal((await ask("/slow?id=after")).status, 200);
    });
  });
}

test("an open WebSocket is a request of its worker until it ends", async (t) => {
  const server = await TestServer.start(t);
  const { endpoints } = await server.deploy("shop", [
    { name: "api", kind: "lb", options: { workers: [0, 1], maxConcurrency: 1 } },
  ]);
  const base = `/lb/${endpoints[0]?.id ?? ""}`;
  const request = http.request(`${server.url}${base}/socket`, {
    headers: { authorization: server.server.key, connection: "Upgrade", upgrade: "websocket" },
  });
  request.end();
  const [, socket] = (await once(request, "upgrade")) as [
    unknown,
    NodeJS.Socket & { destroy(): void },
  ];
  const held = server.request(`${base}/pid`);
  await until(async () => (await server.status("shop", "api")).jobs.inQueue === 1, {
    what: "the request waits",
  });
  socket.destroy();
  assert.equal((await held).status, 200);
});

describe("the rate of workers", () => {
  test("says how many may wait, and knows that slow is not stuck", () => {
    const rate = new ServiceRate();
    // At first nobody knows: a burst is not refused for that.
    assert.ok(roomAt(rate.perMs(0, 4)) > 2000);
    // Four that take two seconds, and none has ended yet.
    assert.equal(roomAt(rate.perMs(2000, 4)), 60);
    // Stuck: the longer it takes, the fewer may wait, and one always may.
    for (let now = 3000; now < 600_000; now += 500) rate.perMs(now, 1);
    const stuck = roomAt(rate.perMs(600_000, 1));
    assert.equal(stuck, 1);
  });

  test("is that of the time in which requests waited", () => {
    const rate = new ServiceRate();
    let now = 0;
    const busy = (ms: number): void => {
      for (const end = now + ms; now < end; now += 10) {
        rate.perMs(now, 1);
        rate.count();
      }
    };
    busy(20_000);
    rate.pause(now);
    now += 15_000;
    // A hundred a second before the pause, and still.
    const after = rate.perMs(now, 1) * 1000;
    assert.ok(after > 95 && after < 105, String(after));
    rate.pause(now);
    now += 100_000;
    // What was so long ago says nothing.
    assert.ok(roomAt(rate.perMs(now, 1)) > 2000);
  });

  test("says when to come again: when the excess is gone, in whole seconds", () => {
    assert.equal(retryAfterS(1, 1), 1);
    assert.equal(retryAfterS(25, 0.01), 3);
    assert.equal(retryAfterS(1000, 0.001), 60);
  });
});
