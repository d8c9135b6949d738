/**
 * Requests over the request link, to a worker that follows no rules: what the client gets is HTTP, by
 * whichever way its request came in. A header that belongs to the connection makes a request one for
 * node:http, and goes no further.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { describe, test, type TestContext } from "node:test";
import { LIVE_SECRET_HEADER } from "../../src/contract/live.ts";
import { until } from "../support/until.ts";
import { GOODBYE, converse } from "./edge-support.ts";
import { TestServer, type Answer } from "./server-support.ts";

interface Linked {
  server: TestServer;
  base: string;
  /** A request that the worker answers with these frames: type, and payload with `|` for zeros. */
  ask: (frames: readonly string[], method?: string) => Promise<Answer>;
}

const WAYS = {
  "at the edge": {},
  "by node:http": { "keep-alive": "timeout=5" },
} as const;
type Way = keyof typeof WAYS;

const HEAD = "1:200|OK|Content-Type|text/plain";
const LAST_BODY = 2 + 128;

/** A server whose next request goes over the link: what comes over HTTP has a process id. */
async function linked(
  t: TestContext,
  way: Way = "at the edge",
  options: { trustProxy?: boolean } = {},
): Promise<Linked> {
  const server = await TestServer.start(t, options);
  const { endpoints } = await server.deploy("shop", [
    { name: "api", kind: "lb", options: { workers: [0, 1], env: { LINK: "1" } } },
  ]);
  const base = `/lb/${endpoints[0]?.id ?? ""}`;
  const pathOf = (frames: readonly string[]): string =>
    `${base}/?${frames.map((frame) => `frame=${encodeURIComponent(frame)}`).join("&")}`;
  const ask = async (frames: readonly string[], method = "POST"): Promise<Answer> =>
    await server.request(pathOf(frames), { method, headers: WAYS[way] });
  await until(async () => (await ask([HEAD, `${LAST_BODY}:linked`])).text === "linked", {
    what: "the link is in use",
  });
  return { server, base, ask };
}

for (const way of Object.keys(WAYS) as Way[]) {
  describe(`what a worker may say on a link, ${way}`, () => {
    test("heads, bodies, repeated headers and empty answers become HTTP", async (t) => {
      const { ask } = await linked(t, way);
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
      const { ask } = await linked(t, way);
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
      const { ask } = await linked(t, way);
      const exact = ["1:200|OK|Content-Length|3"];
      assert.equal((await ask([...exact, `${LAST_BODY}:abc`])).text, "abc");
      await assert.rejects(ask([...exact, `${LAST_BODY}:abcd`]));
      await assert.rejects(ask([...exact, `${LAST_BODY}:ab`]));
      await assert.rejects(ask([...exact, "2:ab", "3"]));
      assert.equal((await ask([HEAD, `${LAST_BODY}:linked`])).text, "linked");
    });

    test("a reset before an answer is 502, and late frames are nobody's", async (t) => {
      const { ask } = await linked(t, way);
      assert.equal((await ask(["3", "2:late", HEAD])).status, 502);
      assert.equal((await ask([HEAD, `${LAST_BODY}:x`, "2:late", "3"])).text, "x");
    });
  });
}

describe("both ways", () => {
  test("show a client the same", async (t) => {
    const { server, base } = await linked(t);
    const answers = [
      [HEAD, "130:whole"],
      ["1:200|OK|Content-Length|5|X-A|1|X-A|2|Date|today", "130:whole"],
      ["1:404||Content-Type|text/plain", "130:"],
      ["1:404|Not Here|Content-Type|text/plain", "2:a", "2:b", "130:c"],
      ["1:200|OK|Content-Type|text/event-stream", "2:data: 1\n\n", "130:data: 2\n\n"],
      ["1:200|OK|Content-Length|4", "2:ab", "130:cd"],
      ["129:204|No Content|X-A|1"],
      ["129:304|Not Modified|ETag|1"],
      ["129:200|OK|Content-Length|0"],
      ["129:200|OK"],
      ["1:99|Low"],
      ["1:200|OK|Bad Name|x", "130:x"],
      ["3"],
    ];
    for (const frames of answers) {
      const path = `${base}/?${frames.map((one) => `frame=${encodeURIComponent(one)}`).join("&")}`;
      const said = await sayBoth(server, [`GET ${path} HTTP/1.1`]);
      assert.equal(said["at the edge"], said["by node:http"], frames.join(" "));
    }
  });

  test("show a worker the same", async (t) => {
    const { server, base } = await linked(t);
    const line = (method: string): string =>
      `${method} ${base}/?frame=${HEAD}&frame=130:seen HTTP/1.1`;
    const requests = [
      [line("GET")],
      [line("DELETE"), "Content-Length: 0"],
      [line("POST")],
      [line("PUT"), "Content-Length: 3", "", "abc"],
      [line("GET"), "content-length: 3", "", "abc"],
      [line("POST"), "Content-Type: a/b", "CONTENT-length: 3", "", "a\0c"],
      [line("GET"), "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Cookie: a=1; b=2"],
      [line("GET"), "Connection: keep-alive", "X-Empty:", "x-b:  c  ", "__proto__: 1"],
      [line("GET"), `${LIVE_SECRET_HEADER}: forged`, "X-Runpod-Worker-Id: nobody"],
      [`GET ${base}//a/../b%2f;c?frame=${HEAD}&frame=130:seen&"' HTTP/1.1`],
    ];
    for (const request of requests) {
      const said = await sayBoth(server, request);
      assert.equal(said["at the edge"], said["by node:http"], request.join("\n"));
      assert.match(said["at the edge"], /X-Forwarded-For/);
      assert.doesNotMatch(said["at the edge"], /forged|authorization|keep-alive\0/i);
    }
  });

  test("believe what X-Forwarded-… says about the client only of a proxy of ours", async (t) => {
    for (const trustProxy of [false, true]) {
      const { server, base } = await linked(t, "at the edge", { trustProxy });
      const said = await sayBoth(server, [
        `GET ${base}/?frame=${HEAD}&frame=130:seen HTTP/1.1`,
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-For: 10.0.0.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.example.com",
      ]);
      assert.equal(said["at the edge"], said["by node:http"]);
      const seen = said["at the edge"];
      const [from, scheme, host] = trustProxy
        ? ["1\\.2\\.3\\.4, 10\\.0\\.0\\.9, 127\\.0\\.0\\.1", "https", "shop\\.example\\.com"]
        : ["127\\.0\\.0\\.1", "http", "localhost"];
      assert.match(seen, new RegExp(`X-Forwarded-For[^a-z0-9]${from}[^a-z0-9]`));
      assert.match(seen, new RegExp(`X-Forwarded-Proto[^a-z0-9]${scheme}[^a-z0-9]`));
      assert.match(seen, new RegExp(`X-Forwarded-Host[^a-z0-9]${host}[^a-z0-9]`));
    }
  });
});

/** What the server says, each way, to a request of these lines; an empty one ends the head. */
async function sayBoth(server: TestServer, lines: readonly string[]): Promise<Record<Way, string>> {
  const [first = "", ...rest] = lines;
  const said = Object.entries(WAYS).map(async ([way, headers]) => {
    const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    const head = [first, "Host: localhost", `Authorization: ${server.server.key}`, ...extra];
    const end = rest.includes("") ? "" : "\r\n\r\n";
    const text = [...head, ...rest].join("\r\n") + end;
    const port = Number(new URL(server.url).port);
    const pieces = [Buffer.from(text + GOODBYE, "latin1")];
    const said = await converse(port, pieces, { isOurs: false });
    return [way, said.replaceAll(/^x-request-id: .*$/gm, "x-request-id: new")];
  });
  return Object.fromEntries(await Promise.all(said)) as Record<Way, string>;
}

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
    // Its first requests may come over HTTP, until its link is open.
    await until(async () => (await ask([HEAD, `${LAST_BODY}:again`])).text === "again", {
      what: "an answer over the link of the next worker",
    });
  });
});
