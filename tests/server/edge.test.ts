/** The edge in front of node:http: whatever comes, a client cannot tell that it is there. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { readPlainHead } from "../../src/server/edge/head.ts";
import { until } from "../support/until.ts";
import { assertSame, GOODBYE, startBoth } from "./edge-support.ts";

const get = (target: string, ...headers: string[]): string =>
  [`GET ${target} HTTP/1.1`, "Host: a", ...headers, "", ""].join("\r\n");
const post = (target: string, body: string, ...headers: string[]): string =>
  [
    `POST ${target} HTTP/1.1`,
    "Host: a",
    `Content-Length: ${body.length}`,
    ...headers,
    "",
    body,
  ].join("\r\n");

const NORMAL = [
  get("/"),
  get("/a/b%20c?x=1&y=%zz"),
  get("/later"),
  get("/x", "Connection: keep-alive", "Accept: */*", "User-Agent: test/1.0 (x; y)"),
  get("/x", "connection: Keep-Alive", "X-Empty:", "X-Spaces:   a b   "),
  get("/nothing"),
  get("/unchanged"),
  get("/dated"),
  get("/large"),
  get("/chunked"),
  get("/stream/later"),
  get("/pieces"),
  get("/refused"),
  get("/passed"),
  get("/passed/later"),
  post("/", '{"x":5}', "Content-Type: application/json"),
  post("/later", "GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
  post("/", ""),
  post("/", "x".repeat(70_000)),
  "PUT / HTTP/1.1\r\nhOST: a\r\ncontent-LENGTH: 2\r\n\r\nab",
  "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n",
  "DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
  "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
  "PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
  "POST /none HTTP/1.1\r\nHost: a\r\n\r\n",
];

const ODD = [
  "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
  get("/", "Connection: close"),
  get("/", "Connection: keep-alive, X-Hop", "X-Hop: 1"),
  get("/", "Cookie: a=1", "Cookie: b=2"),
  get("/", "X-Tab:\ta\t"),
  get("/", "X-Latin: \xe9"),
  get("/\xe9"),
  get("/#fragment"),
  get("/", `X-Long: ${"x".repeat(9000)}`),
  "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: 1\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc",
];

const HOSTILE = [
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
  "POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 3\r\n\r\nabc",
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/1.1\r\nHost:\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
  "GET / HTTP/1.1\nHost: a\n\n",
  "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nX(: x\r\n\r\n",
  "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
  "GET / http/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
  "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
  "get / HTTP/1.1\r\nHost: a\r\n\r\n",
  "BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
  `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`,
  `GET /${"x".repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
];

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

describe("with and without the edge, a client gets the same bytes", () => {
  for (const [what, corpus] of [
    ["normal", NORMAL],
    ["odd", ODD],
    ["hostile", HOSTILE],
  ] as const) {
    test(`for ${what} requests, alone, and between others`, async (t) => {
      const lanes = await startBoth(t);
      for (const request of corpus) {
        await assertSame(lanes, [bytes(request + GOODBYE)]);
        const between = [get("/first"), request, get("/second", "X: 1"), GOODBYE];
        await assertSame(lanes, between.map(bytes));
        await assertSame(lanes, [bytes(between.join(""))]);
      }
      if (what === "normal") assert.ok(lanes.lanes.includes("edge"));
    });
  }

  test("for requests that ask whether to go on", async (t) => {
    const lanes = await startBoth(t);
    // Alone: node:http puts its `100 Continue` into the answer before, when there is one.
    await assertSame(lanes, [bytes(get("/", "Expect: 100-continue") + GOODBYE)]);
    await assertSame(lanes, [bytes(post("/", "abc", "Expect: 100-continue") + GOODBYE)]);
  });

  test("wherever a request is cut in two", async (t) => {
    const lanes = await startBoth(t);
    const requests = [
      post("/later", '{"x":5}', "Content-Type: a/b") + get("/stream"),
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    for (const request of requests) {
      const all = bytes(request + GOODBYE);
      const cuts = Array.from({ length: request.length }, (_, index) => index + 1);
      await Promise.all(
        cuts.map((cut) => assertSame(lanes, [all.subarray(0, cut), all.subarray(cut)])),
      );
      await assertSame(
        lanes,
        [...all].map((byte) => Buffer.from([byte])),
      );
    }
    assert.ok(lanes.lanes.filter((lane) => lane === "edge").length > 100);
  });

  test("for hundreds of requests at once on one connection", async (t) => {
    const lanes = await startBoth(t);
    const many = Array.from({ length: 300 }, (_, index) =>
      index % 3 === 0 ? post(`/later/${index}`, "x".repeat(index)) : get(`/${index}`),
    );
    const answer = await assertSame(lanes, [bytes(many.join("") + GOODBYE)]);
    assert.equal(answer.split("HTTP/1.1 200").length, 302);
    assert.equal(lanes.lanes.filter((lane) => lane === "edge").length, 300);
  });

  test("when the client ends its side right after its requests", async (t) => {
    const lanes = await startBoth(t);
    for (const request of [...NORMAL, ...ODD]) {
      await assertSame(lanes, [bytes(request)], { endsAtOnce: true });
    }
    const chunked =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (const last of [
      get("/later"),
      get("/passed/later"),
      get("/", "Connection: close"),
      chunked,
    ]) {
      const all = [get("/later"), post("/stream/later", "abc"), last].join("");
      const said = await assertSame(lanes, [bytes(all)], { endsAtOnce: true });
      assert.equal(said.match(/HTTP\/1\.1 2/g)?.length, 3, JSON.stringify(last));
    }
  });

  test("for whatever else can be put together", async (t) => {
    const lanes = await startBoth(t);
    const line = fc.constantFrom(
      "GET / HTTP/1.1",
      "POST /later HTTP/1.1",
      "PUT /chunked HTTP/1.1",
      "GET /passed HTTP/1.1",
      "POST /x HTTP/1.0",
      "GET /x  HTTP/1.1",
    );
    const header = fc.constantFrom(
      "Host: a",
      "Host: a",
      "Host: b",
      "Content-Length: 3",
      "Content-Length: 0",
      "content-length: 4",
      "Transfer-Encoding: chunked",
      "Connection: keep-alive",
      "Connection: close",
      "X-A: b",
      "X-B:c ",
      "X-C:\td",
      "X-D : e",
      "",
    );
    const end = fc.constantFrom("\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r");
    const body = fc.constantFrom("", "", "abc", "abcd", "3\r\nabc\r\n0\r\n\r\n");
    const request = fc
      .tuple(line, fc.array(fc.tuple(header, end), { maxLength: 5 }), body)
      .map(([first, headers, rest]) => {
        const lines = headers.map(([text, stop]) => text + stop).join("");
        return `${first}\r\nHost: a\r\n${lines}\r\n${rest}`;
      });
    const noise = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 4 }),
        fc.array(noise, { maxLength: 1 }),
        fc.array(fc.nat(), { maxLength: 4 }),
        async (requests, changes, cuts) => {
          const all = bytes(requests.join("") + GOODBYE);
          for (const [at, value] of changes) all[at % all.length] = value;
          await assertSame(lanes, split(all, cuts));
        },
      ),
      { numRuns: 400 },
    );
  });
});

function split(all: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % all.length))].sort((a, b) => a - b);
  return [...at, all.length].map((end, index) => all.subarray(at[index - 1] ?? 0, end));
}

describe("connections", () => {
  test("a client that is slow with its request is left to node:http, and answered", async (t) => {
    const { edged, lanes, clock } = await startBoth(t);
    const socket = net.connect(edged, "127.0.0.1");
    t.after(() => void socket.destroy());
    socket.write("GET /slow HTTP/1.1\r\nHo");
    // Whether its first bytes have been read or not, nobody waits for the rest at the edge.
    let seconds = 0;
    await until(
      () => {
        clock.advance(1000);
        return ++seconds > 10;
      },
      { what: "the edge to lose patience" },
    );
    socket.write("st: a\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 200 OK/);
    assert.deepEqual(lanes, ["node"]);
  });

  test("one that does not speak HTTP is told so at once", async (t) => {
    const { edged } = await startBoth(t);
    // The clock stands still: whoever waits for the edge's patience waits for ever.
    for (const start of ["\x16\x03\x01", "\0", "\n", "1", "{"]) {
      const socket = net.connect(edged, "127.0.0.1");
      t.after(() => void socket.destroy());
      socket.resume();
      socket.write(bytes(`${start} not a request`));
      await once(socket, "close");
    }
  });

  test("one that is idle for longer than it is kept is ended", async (t) => {
    const { edged, clock } = await startBoth(t);
    const socket = net.connect(edged, "127.0.0.1");
    const closed = once(socket, "close");
    socket.write(get("/"));
    await once(socket, "data");
    for (let second = 0; second < 5; second++) clock.advance(1000);
    assert.equal(socket.destroyed, false);
    for (let second = 0; second < 5; second++) clock.advance(1000);
    await closed;
  });

  test("closing ends what is idle at once, and what is busy after its answer", async (t) => {
    const { edged, edge } = await startBoth(t);
    const [idle, busy] = [net.connect(edged, "127.0.0.1"), net.connect(edged, "127.0.0.1")];
    idle.write(get("/"));
    await once(idle, "data");
    busy.write(get("/"));
    await once(busy, "data");
    const [idleClosed, busyClosed] = [once(idle, "close"), once(busy, "close")];
    const answered = once(busy, "data");
    busy.write(get("/later"));
    edge.close();
    idle.resume();
    await idleClosed;
    const said = await Promise.race([answered, busyClosed]);
    // It may have been idle still when the edge closed.
    if (said.length > 0 && Buffer.isBuffer(said[0])) {
      assert.match(said[0].toString(), /Connection: close/);
    }
    await busyClosed;
  });
});

describe("a plain head", () => {
  test("is read as it was written", () => {
    const head = readPlainHead(
      "POST /a?b HTTP/1.1\r\nHost: x:1\r\nContent-Length: 12\r\nA-b:  c d ",
    );
    assert.equal(head?.method, "POST");
    assert.equal(head.target, "/a?b");
    assert.equal(head.host, "x:1");
    assert.equal(head.bodyBytes, 12);
    assert.deepEqual(head.rawHeaders, ["Host", "x:1", "Content-Length", "12", "A-b", "c d"]);
    assert.equal(head.headers["a-b"], "c d");
  });

  test("is told from another in one pass, whatever a line is full of", () => {
    // Not in a lifetime when every space of a line were looked at once for every other.
    for (const filling of [" ", "a", "a ", "\t", ":"]) {
      const line = `X:${filling.repeat(2_000_000)}`;
      assert.equal(readPlainHead(`GET / HTTP/1.1\r\nHost: a\r\n${line}\x01`), undefined);
      assert.equal(readPlainHead(`GET / HTTP/1.1\r\nHost: a\r\n${line}\x01b\r\nA: b`), undefined);
    }
    const spaces = " ".repeat(1000);
    const head = readPlainHead(
      `GET / HTTP/1.1\r\nHost:${spaces}a\r\nX:${spaces}b${spaces}c${spaces}`,
    );
    assert.deepEqual(head?.rawHeaders, ["Host", "a", "X", `b${spaces}c`]);
  });

  test("is nothing that node:http refuses or reads differently", () => {
    for (const request of HOSTILE) {
      const head = readPlainHead(request.split("\r\n\r\n")[0] ?? "");
      const isHarmless = request.includes("constructor") || request.includes("x".repeat(20_000));
      const isCut = request.includes("Content-Length: 10");
      assert.equal(head === undefined, !isHarmless && !isCut, request);
    }
  });
});
