/** Requests over the request link, to a worker that follows no rules: what the client gets is HTTP. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { describe, test, type TestContext } from "node:test";
import { until } from "../support/until.ts";
import { TestServer, type Answer } from "./server-support.ts";

interface Linked {
  server: TestServer;
  base: string;
  /** A request that the worker answers with these frames: type, and payload with `|` for zeros. */
  ask: (frames: readonly string[], method?: string) => Promise<Answer>;
}

const HEAD = "1:200|OK|Content-Type|text/plain";
const LAST_BODY = 2 + 128;

/** A server whose next request goes over the link: what comes over HTTP has a process id. */
async function linked(t: TestContext): Promise<Linked> {
  const server = await TestServer.start(t);
  const { endpoints } = await server.deploy("shop", [
    { name: "api", kind: "lb", options: { workers: [0, 1], env: { LINK: "1" } } },
  ]);
  const base = `/lb/${endpoints[0]?.id ?? ""}`;
  const pathOf = (frames: readonly string[]): string =>
    `${base}/?${frames.map((frame) => `frame=${encodeURIComponent(frame)}`).join("&")}`;
  const ask = async (frames: readonly string[], method = "POST"): Promise<Answer> =>
    await server.request(pathOf(frames), { method });
  await until(async () => (await ask([HEAD, `${LAST_BODY}:linked`])).text === "linked", {
    what: "the link is in use",
  });
  return { server, base, ask };
}

describe("what a worker may say on a link", () => {
  test("heads, bodies, repeated headers and empty answers become HTTP", async (t) => {
    const { ask } = await linked(t);
    const many = await ask([
      "1:201|Made|Set-Cookie|a=1|Set-Cookie|b=2|X-Runpod-Worker-Id|forged|Connection|x-hop|X-Hop|1",
      "2:one ",
      `${LAST_BODY}:two`,
    ]);
    assert.equal(many.status, 201);
    assert.equal(many.text, "one two");
    assert.deepEqual(many.headers["set-cookie"], ["a=1", "b=2"]);
    assert.match(String(many.headers["x-runpod-worker-id"]), /^[a-z0-9]{12}$/);
    assert.equal(many.headers["x-hop"], undefined);
    assert.equal((await ask(["129:204|No Content"])).status, 204);
    const head = await ask(["1:200|OK|Content-Length|5", `${LAST_BODY}:`], "HEAD");
    assert.equal(head.headers["content-length"], "5");
  });

  test("a head that is no HTTP is refused with 502, and the link lives on", async (t) => {
    const { ask } = await linked(t);
    const wrong = [
      "1:99|Low",
      "1:101|Switching Protocols",
      "1:two hundred|OK",
      "1:200|OK|Content-Length",
      "1:200|OK|Bad Name|x",
      "1:200|OK|X-Split|a\r\nX-Other: b",
      "1:200|O\r\nK|X|y",
      "1:200|OK|Content-Length|5|Content-Length|6",
      "1:200|OK|Content-Length|-1",
    ];
    for (const frame of wrong) {
      const answer = await ask([frame, `${LAST_BODY}:x`]);
      assert.equal(answer.status, 502, frame);
      assert.equal(answer.json.code, "INVALID_OUTPUT", frame);
    }
    assert.equal((await ask([HEAD, `${LAST_BODY}:linked`])).text, "linked");
  });

  test("an answer that is longer or shorter than it says is visibly broken", async (t) => {
    const { ask } = await linked(t);
    const exact = ["1:200|OK|Content-Length|3"];
    assert.equal((await ask([...exact, `${LAST_BODY}:abc`])).text, "abc");
    await assert.rejects(ask([...exact, `${LAST_BODY}:abcd`]));
    await assert.rejects(ask([...exact, `${LAST_BODY}:ab`]));
    await assert.rejects(ask([...exact, "2:ab", "3"]));
    assert.equal((await ask([HEAD, `${LAST_BODY}:linked`])).text, "linked");
  });

  test("a reset before an answer is 502, and late frames are nobody's", async (t) => {
    const { ask } = await linked(t);
    assert.equal((await ask(["3", "2:late", HEAD])).status, 502);
    assert.equal((await ask([HEAD, `${LAST_BODY}:x`, "2:late", "3"])).text, "x");
  });
});

describe("what is against the rules", () => {
  for (const [what, frames] of [
    ["no type", ["9"]],
    ["a body before its head", ["2:x"]],
    ["two heads", [HEAD, HEAD]],
  ] as const) {
    test(`${what}: that link ends, POSTs on it are not repeated, and HTTP takes over`, async (t) => {
      const { server, base, ask } = await linked(t);
      await ask(frames).then(
        (answer) => assert.equal(answer.status, 502),
        // Its head had begun to be written.
        () => undefined,
      );
      await until(async () => (await server.request(`${base}/pid`)).json?.pid > 0, {
        what: "an answer over HTTP",
      });
    });
  }

  test("a worker that is killed in the middle breaks that answer, and another one takes over", async (t) => {
    const { server, base, ask } = await linked(t);
    const request = http.get(
      `${server.url}${base}/?frame=${encodeURIComponent(HEAD)}&frame=2:part&die=1`,
      { headers: { authorization: server.server.key } },
    );
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    response.resume();
    await assert.rejects(once(response, "end"));
    assert.equal((await ask([HEAD, `${LAST_BODY}:again`])).text, "again");
  });
});
