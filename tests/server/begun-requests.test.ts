/** What a key has opened ends with the key: streams, followed logs and events, WebSockets. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import type { KeyRequest } from "../../src/contract/control.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { Keyring } from "../../src/server/gateway/auth.ts";
import { until } from "../support/until.ts";
import { deployCode } from "./code-support.ts";
import { TestServer } from "./server-support.ts";

/** A route whose answer goes on for as long as somebody reads it. */
const ENDLESS = `let aborted = 0;
route("GET", "/endless", async function* () {
  try {
    for (let n = 0; ; n++) {
      yield n;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    aborted += 1;
  }
});
route("GET", "/aborted", async () => ({ aborted }));`;

const JOB = `queue(async function* () {
  for (let n = 0; n < 3000; n++) {
    yield n;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});`;

async function keyOf(server: TestServer, request: KeyRequest): Promise<{ key: string }> {
  const body = JSON.stringify(request);
  return (await server.request("/api/v1/keys", { method: "POST", body })).json;
}

/** A GET that has begun to be answered, and how it ends. */
async function begin(
  t: TestContext,
  url: string,
  headers: Record<string, string>,
): Promise<{ begun: Promise<unknown>; ended: Promise<string>; isOpen: () => boolean }> {
  const request = http.get(url, { agent: false, headers });
  t.after(() => request.destroy());
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  assert.equal(response.statusCode, 200, url);
  let isOpen = true;
  const ended = new Promise<string>((resolve) => {
    response.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    response.once("end", () => resolve("end"));
  }).finally(() => (isOpen = false));
  const begun = new Promise((resolve) => response.once("data", resolve));
  response.resume();
  return { begun, ended, isOpen: () => isOpen };
}

describe("what a key has opened", () => {
  test("ends within seconds after the key is revoked; that of other keys goes on", async (t) => {
    const server = await TestServer.start(t);
    const options = { workers: [0, 1] as const, maxConcurrency: 10 };
    const endpoints = await deployCode(
      t,
      server,
      [
        { name: "api", routes: ["GET /endless", "GET /aborted"], code: ENDLESS, options },
        { name: "job", code: JOB, options },
      ],
      { wrapsInput: false },
    );
    const [api, queue] = ["api", "job"].map((name) => endpoints.get(name)?.url ?? "");
    const verbs = ["read", "call"] as const;
    const gone = await keyOf(server, { name: "gone", verbs: [...verbs] });
    const kept = await keyOf(server, { name: "kept", verbs: [...verbs] });
    const authorization = `Bearer ${gone.key}`;
    // The edge sees plain requests alone, and this header is none of a plain one.
    const byNode = { "keep-alive": "timeout=5" };
    const run = await server.request(`${queue}/run`, { method: "POST", body: '{"input":{}}' });
    const events = { accept: "text/event-stream" };
    const query = "app=code&environment=production";
    const streams = await Promise.all([
      begin(t, `${api}/endless`, { authorization }),
      begin(t, `${api}/endless`, { authorization, ...byNode }),
      begin(t, `${queue}/stream/${run.json.id as string}`, { authorization, ...events }),
      begin(t, `${server.url}/api/v1/logs?${query}&follow=1`, { authorization }),
      begin(t, `${server.url}/api/v1/events?${query}&follow=1`, { authorization, ...events }),
    ]);
    const other = await begin(t, `${api}/endless`, { authorization: `Bearer ${kept.key}` });
    await Promise.all([streams[0].begun, streams[1].begun, streams[2].begun, other.begun]);
    assert.ok(streams.every(({ isOpen }) => isOpen()));
    await server.request("/api/v1/keys?key=gone", { method: "DELETE" });
    // Broken off, as what ends properly is complete.
    const ends = await Promise.all(streams.map(({ ended }) => ended));
    assert.deepEqual(new Set(ends), new Set(["ECONNRESET"]));
    assert.ok(other.isOpen());
    const aborted = async (): Promise<number> =>
      (await server.request(`${api}/aborted`)).json.aborted as number;
    await until(async () => (await aborted()) === 2, {
      what: "the functions of the two streams to be told",
    });
    await until(async () => (await server.status("code", "api")).jobs.inProgress === 1, {
      what: "the other stream to be all that the worker does",
    });
    assert.ok(other.isOpen());
  });

  test("a WebSocket ends with its key", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [
      { name: "api", kind: "lb", options: { workers: [0, 1] } },
    ]);
    const { key } = await keyOf(server, { name: "gone", verbs: ["call"] });
    const request = http.request(`${endpoints[0]?.url ?? ""}/socket`, {
      headers: {
        authorization: `Bearer ${key}`,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
      },
    });
    request.end();
    const [, socket] = (await once(request, "upgrade")) as [unknown, Socket];
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => undefined);
    socket.resume();
    await server.request("/api/v1/keys?key=gone", { method: "DELETE" });
    await closed;
  });
});

describe("the keyring", () => {
  const row = {
    id: "key_1",
    name: "one",
    digest: "AAAA",
    verbs: [],
    scope: { app: null, environment: null, endpoint: null },
    createdAt: 0,
    createdBy: "operator",
    lastUsedAt: null,
  };

  function keyring(expiresAt: number | null): { clock: ManualClock; ring: Keyring } {
    const clock = new ManualClock(0);
    const ring = new Keyring({ serverKey: "flash_x", clock });
    ring.hold({ ...row, expiresAt, revokedAt: null });
    return { clock, ring };
  }

  const principal = { kind: "key", ...row } as const;

  test("lets a short answer be finished, and ends what expires as well", () => {
    const { clock, ring } = keyring(10_000);
    let ended = 0;
    const over = ring.begin(principal, () => (ended += 100));
    ring.begin(principal, () => (ended += 1));
    over?.();
    clock.advance(11_999);
    ring.endVoid();
    assert.equal(ended, 0);
    clock.advance(1);
    ring.endVoid();
    ring.endVoid();
    assert.equal(ended, 1);
  });

  test("a second revocation does not put the end off, and the operator's requests are nobody's", () => {
    const { clock, ring } = keyring(null);
    let ended = 0;
    ring.begin(principal, () => (ended += 1));
    assert.equal(
      ring.begin({ kind: "operator" }, () => (ended += 100)),
      undefined,
    );
    ring.revoke("key_1");
    clock.advance(1500);
    ring.revoke("key_1");
    clock.advance(500);
    ring.endVoid();
    assert.equal(ended, 1);
  });
});
