import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { describe, test, type TestContext } from "node:test";
import { LIMITS } from "../../src/contract/limits.ts";
import type { Clock } from "../../src/kit/clock.ts";
import { LeapingClock } from "../support/clocks.ts";
import { until } from "../support/until.ts";
import { TestServer, isAlive, type EndpointSpec } from "./server-support.ts";

const API: EndpointSpec = { name: "api", kind: "lb", options: { workers: [0, 1] } };

async function deployed(
  t: TestContext,
  options: EndpointSpec["options"] = {},
  clock?: Clock,
): Promise<{ server: TestServer; base: string; id: string }> {
  const server = await TestServer.start(t, clock === undefined ? {} : { clock });
  const { endpoints } = await server.deploy("shop", [
    { ...API, options: { ...API.options, ...options } },
  ]);
  const id = endpoints[0]?.id ?? "";
  return { server, base: `/lb/${id}`, id };
}

describe("from nothing and back", () => {
  test("an idle endpoint has no process, answers the first request, and is back to none", async (t) => {
    // Far from over while somebody looks, and over when the clock is set on.
    const clock = new LeapingClock();
    const { server, base } = await deployed(t, { idleTimeoutS: 3600 }, clock);
    assert.equal(await server.workers("shop", "api"), 0);
    const answer = await server.request(`${base}/pid`);
    assert.equal(answer.status, 200);
    assert.ok(isAlive(answer.json.pid));
    assert.equal((await server.status("shop", "api")).state, "ready");
    clock.leap(3600_000);
    await server.untilWorkers("shop", "api", 0);
    assert.equal(isAlive(answer.json.pid), false);
    assert.equal((await server.status("shop", "api")).state, "idle");
  });

  test("requests that arrive while a worker starts are all held and answered by it", async (t) => {
    const { server, base } = await deployed(t, { env: { START_MS: "300" } });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => server.request(`${base}/pid`)),
    );
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
    assert.equal(new Set(answers.map(({ json }) => json.pid)).size, 1);
  });

  test("a worker that says it is ready is believed", async (t) => {
    const { server, base } = await deployed(t, { env: { SAY_READY: "1" } });
    assert.equal((await server.request(`${base}/pid`)).status, 200);
  });

  test("more requests than one worker's share bring more workers, and no more than the maximum", async (t) => {
    const { server, base } = await deployed(t, { workers: [0, 2], scalerValue: 1 });
    const slow = Array.from({ length: 6 }, () => server.request(`${base}/slow?ms=3000`));
    await server.untilWorkers("shop", "api", 2);
    await Promise.all(slow);
    assert.equal(await server.workers("shop", "api"), 2);
    const { decisions } = await server.server.control.explain("shop", "production", "api");
    const targets = decisions.map((decision) => decision.targets[0]?.target);
    assert.deepEqual(targets.slice(0, 3), [0, 1, 2]);
  });

  test("workersMin are there before any request", async (t) => {
    const { server } = await deployed(t, { workers: [2, 3] });
    await until(async () => (await server.status("shop", "api")).workers.IDLE === 2, {
      what: "two idle workers",
    });
  });

  test("an endpoint with workersMax 0 refuses at once and says why", async (t) => {
    const { server, base } = await deployed(t, { workers: [0, 0] });
    const answer = await server.request(`${base}/pid`);
    assert.equal(answer.status, 503);
    assert.match(answer.json.detail, /no workers available.*off/);
    assert.ok(answer.headers["retry-after"]);
  });
});

describe("what passes through", () => {
  test("method, path, query, headers and body reach the worker; key and connection headers do not", async (t) => {
    const { server, base } = await deployed(t);
    const answer = await server.request(`${base}/echo?a=%2F&b=1&b=2`, {
      method: "PATCH",
      body: "hello ✓",
      headers: {
        connection: "close, X-Hop",
        "x-hop": "1",
        "x-own": "yes",
        te: "trailers",
        "x-forwarded-for": "1.2.3.4",
        "x-runpod-worker-id": "any",
      },
    });
    const { method, url, headers, body } = answer.json;
    assert.equal(method, "PATCH");
    assert.equal(url, "/echo?a=%2F&b=1&b=2");
    assert.equal(body, "hello ✓");
    assert.equal(headers["x-own"], "yes");
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "http");
    for (const name of ["authorization", "x-hop", "te", "x-runpod-worker-id"]) {
      assert.equal(headers[name], undefined, name);
    }
  });

  test("a path with encoded characters and dots is not rewritten", async (t) => {
    const { server, base } = await deployed(t);
    const socket = net.connect(Number(new URL(server.url).port), "127.0.0.1");
    // Written by hand, because clients tidy paths up.
    socket.write(
      `GET ${base}//a%2Fb/../%2e%2e/c/?x=//y HTTP/1.1\r\nHost: localhost\r\n` +
        `Authorization: Bearer ${server.server.key}\r\nConnection: close\r\n\r\n`,
    );
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /"url":"\/\/a%2Fb\/\.\.\/%2e%2e\/c\/\?x=\/\/y"/);
  });

  test("chunked bodies arrive whole, also with methods that seldom have one", async (t) => {
    const { server, base } = await deployed(t);
    for (const method of ["POST", "GET", "DELETE"]) {
      const answer = await server.request(`${base}/echo`, {
        method,
        body: "abc",
        headers: { "transfer-encoding": "chunked" },
      });
      assert.equal(answer.json.body, "abc", method);
    }
  });

  test("a large upload is streamed unchanged", async (t) => {
    const { server, base } = await deployed(t);
    const body = randomBytes(20 * 1024 * 1024);
    const answer = await server.request(`${base}/digest`, { method: "POST", body });
    assert.equal(answer.json.bytes, body.length);
    assert.equal(answer.json.digest, createHash("sha256").update(body).digest("hex"));
  });

  test("an upload over the limit is refused with 413, announced or not", async (t) => {
    const { server, base } = await deployed(t);
    const announced = await server.request(`${base}/digest`, {
      method: "POST",
      headers: { "content-length": String(LIMITS.lbBodyBytes + 1), expect: "100-continue" },
    });
    assert.equal(announced.status, 413);
    const socket = net.connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(
      `POST ${base}/digest HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${server.server.key}\r\n` +
        "Transfer-Encoding: chunked\r\n\r\n",
    );
    const chunk = Buffer.alloc(1024 * 1024);
    const framed = Buffer.concat([Buffer.from("100000\r\n"), chunk, Buffer.from("\r\n")]);
    for (let sent = 0; sent <= LIMITS.lbBodyBytes; sent += chunk.length) socket.write(framed);
    const [head] = (await once(socket, "data")) as [Buffer];
    assert.match(head.toString(), /^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test("an answer over the limit is cut off, not passed on", async (t) => {
    const { server, base } = await deployed(t);
    const fine = await server.request(`${base}/big?bytes=${LIMITS.lbBodyBytes}`);
    assert.equal(fine.text.length, LIMITS.lbBodyBytes);
    await assert.rejects(server.request(`${base}/big?bytes=${LIMITS.lbBodyBytes + 1}`));
  });

  test("events reach the client as they come", async (t) => {
    const { server, base } = await deployed(t);
    const pid = (await server.request(`${base}/pid`)).json.pid;
    const request = http.get(`${server.url}${base}/events`, {
      headers: { authorization: server.server.key },
    });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    const seen: string[] = [];
    for await (const chunk of response) {
      seen.push(String(chunk));
      // The second event is sent only when the first has been seen.
      if (seen.length === 1) process.kill(pid, "SIGUSR2");
    }
    assert.deepEqual(seen, ["data: 1\n\n", "data: 2\n\n"]);
  });

  test("trailers, early hints and empty answers pass; the worker cannot forge its id", async (t) => {
    const { server, base } = await deployed(t);
    const trailed = await server.request(`${base}/trailers`);
    assert.equal(trailed.text, "body");
    assert.equal(trailed.trailers["x-sum"], "4");
    assert.match(String(trailed.headers["x-runpod-worker-id"]), /^[a-z0-9]{12}$/);
    assert.equal((await server.request(`${base}/204`)).status, 204);
    assert.equal((await server.request(`${base}/pid`, { method: "HEAD" })).text, "");
    const request = http.get(`${server.url}${base}/early`, {
      headers: { authorization: server.server.key },
    });
    const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
    const [info] = (await once(request, "information")) as [{ statusCode: number }];
    assert.equal(info.statusCode, 103);
    const [response] = await answered;
    assert.equal(response.statusCode, 200);
    response.resume();
  });

  test("a client that waits for 100 Continue gets it from the gateway", async (t) => {
    const { server, base } = await deployed(t);
    const request = http.request(`${server.url}${base}/echo`, {
      method: "POST",
      headers: { authorization: server.server.key, expect: "100-continue", "content-length": "2" },
    });
    request.flushHeaders();
    await once(request, "continue");
    request.end("ok");
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    assert.equal(response.statusCode, 200);
    response.resume();
  });

  test("an answer that is not valid HTTP breaks that answer and nothing else", async (t) => {
    const { server, base } = await deployed(t);
    const odd = await server.request(`${base}/odd-hints`);
    assert.equal(odd.status, 502);
    assert.equal(odd.json.code, "INVALID_OUTPUT");
    assert.equal((await server.request(`${base}/pid`)).status, 200);
  });

  test("a coding other than chunks is refused", async (t) => {
    const { server, base } = await deployed(t);
    const headers = { "transfer-encoding": "gzip, chunked" };
    const answer = await server.request(`${base}/echo`, { method: "POST", headers, body: "x" });
    assert.equal(answer.status, 501);
  });

  test("two messages in one are refused, so that gateway and worker cannot disagree", async (t) => {
    const { server, base } = await deployed(t);
    await server.request(`${base}/pid`);
    const smuggled = [
      "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
      "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
      "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
      "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ];
    for (const rest of smuggled) {
      const socket = net.connect(Number(new URL(server.url).port), "127.0.0.1");
      socket.write(
        `POST ${base}/echo HTTP/1.1\r\nHost: localhost\r\n` +
          `Authorization: ${server.server.key}\r\n${rest}`,
      );
      const [head] = (await once(socket, "data")) as [Buffer];
      assert.match(head.toString(), /^HTTP\/1\.1 400 /, rest);
      socket.destroy();
    }
  });
});

describe("affinity", () => {
  test("a worker's id is a wish, strict is a demand, and a foreign id is never reached", async (t) => {
    const { server, base } = await deployed(t, { workers: [2, 2] });
    await until(async () => (await server.status("shop", "api")).workers.IDLE === 2, {
      what: "two idle workers",
    });
    const first = await server.request(`${base}/pid`);
    const id = String(first.headers["x-runpod-worker-id"]);
    for (const wish of [id, `strict ${id}`, `strict-resume ${id}`]) {
      for (let round = 0; round < 4; round++) {
        const again = await server.request(`${base}/pid`, {
          headers: { "x-runpod-worker-id": wish },
        });
        assert.equal(again.headers["x-runpod-worker-id"], id, wish);
      }
    }
    const soft = await server.request(`${base}/pid`, { headers: { "x-runpod-worker-id": "gone" } });
    assert.equal(soft.status, 200);
    for (const wish of ["strict gone", "strict-resume gone"]) {
      const refused = await server.request(`${base}/pid`, {
        headers: { "x-runpod-worker-id": wish },
      });
      assert.equal(refused.status, 404);
      assert.equal(refused.json.reason, "affinity_worker_gone");
    }
  });

  test("strict-resume brings a scaled-down worker back under its id", async (t) => {
    const { server, base } = await deployed(t, { idleTimeoutS: 1 });
    const id = String((await server.request(`${base}/pid`)).headers["x-runpod-worker-id"]);
    await server.untilWorkers("shop", "api", 0);
    const strict = await server.request(`${base}/pid`, {
      headers: { "x-runpod-worker-id": `strict ${id}` },
    });
    assert.equal(strict.status, 404);
    const resumed = await server.request(`${base}/pid`, {
      headers: { "x-runpod-worker-id": `strict-resume ${id}` },
    });
    assert.equal(resumed.status, 200);
    assert.equal(resumed.headers["x-runpod-worker-id"], id);
  });
});

describe("when something breaks", () => {
  test("a worker killed with SIGKILL is replaced, and the next request is answered", async (t) => {
    const { server, base } = await deployed(t);
    const { pid } = (await server.request(`${base}/pid`)).json;
    process.kill(pid, "SIGKILL");
    const next = await server.request(`${base}/pid`);
    assert.equal(next.status, 200);
    assert.notEqual(next.json.pid, pid);
  });

  test("a POST whose worker dies is answered with 502 and is not sent again; a GET is", async (t) => {
    const { server, base } = await deployed(t);
    const post = await server.request(`${base}/die`, { method: "POST", body: "x" });
    assert.equal(post.status, 502);
    assert.equal(post.json.code, "WORKER_LOST");
    assert.ok(post.headers["x-runpod-worker-id"]);
    // Every worker that gets it dies: the tries are counted.
    const get = await server.request(`${base}/die`);
    assert.equal(get.status, 502);
    const log: string[] = [];
    const lines = await server.server.control.logs(
      { app: "shop", environment: "production", endpoint: "api" },
      { tail: 1000, follow: true, signal: AbortSignal.timeout(60_000) },
    );
    // The last words of a worker may come after the answer to those whom it has left.
    for await (const { message } of lines) {
      if (message === "told to die" && log.push(message) === 3) break;
    }
    assert.equal(log.length, 3);
  });

  test("a connection is good for another request after one whose body was not read", async (t) => {
    const { server, base } = await deployed(t);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const body = Buffer.alloc(8 * 1024 * 1024);
    const lost = await server.request(`${base}/die`, { method: "POST", body, agent });
    assert.equal(lost.status, 502);
    assert.equal((await server.request(`${base}/pid`, { agent })).status, 200);
  });

  test("an answer that breaks off is not passed on as a whole one", async (t) => {
    const { server, base } = await deployed(t);
    await assert.rejects(server.request(`${base}/half`));
    assert.equal((await server.request(`${base}/pid`)).status, 200);
  });

  test("a client that goes away ends its request at the worker", async (t) => {
    const { server, base } = await deployed(t);
    await server.request(`${base}/pid`);
    const leave = new AbortController();
    const left = server.request(`${base}/slow?ms=60000`, { signal: leave.signal });
    await until(async () => (await server.status("shop", "api")).jobs.inProgress === 1, {
      what: "the request at the worker",
    });
    leave.abort();
    await assert.rejects(left);
    await until(async () => (await server.request(`${base}/aborted`)).json.aborted === 1, {
      what: "the worker to notice",
    });
  });

  test("a client that goes away while it is held leaves nothing behind", async (t) => {
    const { server, base } = await deployed(t, { env: { START_MS: "600000" } });
    const leave = new AbortController();
    const left = server.request(`${base}/pid`, { signal: leave.signal });
    await until(async () => (await server.status("shop", "api")).jobs.inQueue === 1, {
      what: "the held request",
    });
    leave.abort();
    await assert.rejects(left);
    await until(async () => (await server.status("shop", "api")).jobs.inQueue === 0, {
      what: "the queue to be empty",
    });
  });

  test("a function over its execution time is answered with 504", async (t) => {
    const { server, base } = await deployed(t, { executionTimeoutMs: 200 });
    const answer = await server.request(`${base}/slow?ms=30000`);
    assert.equal(answer.status, 504);
    assert.equal(answer.json.code, "EXECUTION_TIMEOUT");
    assert.equal((await server.request(`${base}/pid`)).status, 200);
  });

  test("a worker that cannot start is named with its last words, quickly", async (t) => {
    const { server, base } = await deployed(t, { env: { START_CRASH: "no such model: 42" } });
    const answer = await server.request(`${base}/pid`);
    assert.equal(answer.status, 503);
    assert.equal(answer.json.code, "WORKER_START_FAILED");
    assert.match(answer.json.detail, /no such model: 42/);
    assert.ok(Number(answer.headers["retry-after"]) >= 1);
    const status = await server.status("shop", "api");
    assert.equal(status.state, "unhealthy");
    assert.match(status.problem ?? "", /no such model: 42/);
  });

  test("a worker whose health check fails gets no requests, and is replaced", async (t) => {
    const clock = new LeapingClock();
    const { server, base } = await deployed(t, {}, clock);
    const { pid } = (await server.request(`${base}/pid`)).json;
    assert.ok(isAlive(pid));
    await server.request(`${base}/sick?status=500`);
    const next = await until(
      async () => {
        const answer = await server.request(`${base}/pid`);
        return answer.status === 200 && answer.json.pid !== pid && answer.json.pid;
      },
      { what: "another worker" },
    );
    assert.ok(isAlive(next));
    // It might have become healthy again.
    clock.leap(10_000);
    await until(() => !isAlive(pid), { what: "the end of the first" });
  });
});

describe("WebSockets", () => {
  test("a connection is spliced both ways and names its worker; it wakes a worker like a request", async (t) => {
    const { server, base } = await deployed(t);
    const request = http.request(`${server.url}${base}/socket`, {
      headers: {
        authorization: server.server.key,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
      },
    });
    request.end();
    const [response, socket] = (await once(request, "upgrade")) as [
      http.IncomingMessage,
      net.Socket,
    ];
    assert.equal(response.statusCode, 101);
    assert.match(String(response.headers["x-runpod-worker-id"]), /^[a-z0-9]{12}$/);
    socket.write("ping");
    const [data] = (await once(socket, "data")) as [Buffer];
    assert.equal(data.toString(), "ping");
    assert.equal((await server.status("shop", "api")).jobs.inProgress, 1);
    socket.destroy();
    await until(async () => (await server.status("shop", "api")).jobs.inProgress === 0, {
      what: "the connection to end",
    });
  });

  test("a refusal of the worker reaches the client; without a key there is none", async (t) => {
    const { server, base } = await deployed(t);
    const upgrade = { connection: "Upgrade", upgrade: "websocket" };
    const refused = await server.request(`${base}/refused`, { headers: upgrade });
    assert.equal(refused.status, 403);
    assert.equal(refused.text, "no");
    assert.equal((await server.request(`${base}/x`, { headers: upgrade, key: null })).status, 401);
  });

  test("a request with a body, and the offer of HTTP/2, are answered as if they had not asked for one", async (t) => {
    const { server, base } = await deployed(t);
    for (const [method, upgrade, body] of [
      ["POST", "websocket", "payload"],
      ["POST", "h2c", "payload"],
      ["GET", "h2c", ""],
      ["POST", "h2c", ""],
    ] as const) {
      const headers = { connection: "Upgrade, HTTP2-Settings", upgrade, "http2-settings": "AA" };
      const answer = await server.request(`${base}/echo`, { method, headers, body });
      assert.equal(answer.status, 200, `${method} ${upgrade}`);
      assert.equal(answer.json.body, body);
      assert.equal(answer.json.headers["http2-settings"], undefined);
    }
    assert.equal((await server.status("shop", "api")).jobs.inProgress, 0);
  });
});
