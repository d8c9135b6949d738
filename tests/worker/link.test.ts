/** The request link of a load-balanced worker: the real program, spoken to in frames. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { LB_LINK_GREETING, headParts, linkPathOf } from "../../src/contract/lb-link.ts";
import { RequestLink, type RequestStream } from "../../src/server/workers/request-link.ts";
import { orderedOwner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, routeOf, writeArtifact } from "./artifact.ts";
import { WorkerProcess } from "./worker-process.ts";

const FUNCTIONS = [
  routeOf("POST /add", [parameter("x", { type: "integer" }), parameter("y", { type: "integer" })]),
  routeOf("POST /size", [parameter("request", {}, { carrier: "request" })]),
  routeOf("POST /ignore", [parameter("request", {}, { carrier: "request" })]),
  routeOf("GET /flood"),
  routeOf("GET /megabytes"),
  routeOf("GET /wait"),
  routeOf("GET /head"),
  routeOf("GET /seen"),
  routeOf("GET /die"),
];

const CODE = `
const seen = { aborted: 0, produced: 0 };
route("POST", "/add", (x, y) => ({ result: x + y }));
route("POST", "/size", async (request) => {
  let size = 0; for await (const chunk of request.body) size += chunk.length;
  return { size, type: request.headers.get("content-type") }; });
route("POST", "/ignore", () => "ignored");
route("GET", "/flood", () => new ReadableStream({
  pull(controller) { seen.produced += 65536; controller.enqueue(new Uint8Array(65536)); },
  cancel() { seen.aborted++; } }));
route("GET", "/megabytes", () => new Response(new Uint8Array(5_000_000).fill(7)));
route("GET", "/wait", () => new Promise(() => {
  context().signal.addEventListener("abort", () => { seen.aborted++; }); }));
route("GET", "/head", () => new Response("x", { headers: { "x-large": "y".repeat(70_000) } }));
route("GET", "/seen", () => seen);
route("GET", "/die", () => new ReadableStream({ pull(controller) {
  controller.enqueue(new Uint8Array(10)); setImmediate(() => process.kill(process.pid, "SIGKILL")); } }));
`;

const suite = orderedOwner({ after });
let artifact: string;
let worker: WorkerProcess;

before(async () => {
  artifact = writeArtifact(suite, { kind: "lb", functions: FUNCTIONS, code: CODE });
  worker = WorkerProcess.start(suite, artifact);
  await worker.ready();
});

interface Answered {
  status: number;
  body: Buffer;
  end: "whole" | "reset" | "lost";
}

interface Exchange {
  stream: RequestStream;
  /** Bytes that have come and are not granted again. */
  unread: number;
  answered: Promise<Answered>;
}

interface Ask {
  body?: Buffer | Buffer[];
  headers?: string[];
  /** What comes is not granted again. */
  isSlow?: boolean;
}

/** A worker that does not greet in time has no link for whoever asks then: it is asked again. */
async function connect(to = worker): Promise<RequestLink> {
  return await until(() => RequestLink.connect(linkPathOf(to.socketPath)), { what: "a link" });
}

function ask(link: RequestLink, method: string, path: string, options: Ask = {}): Exchange {
  const { body, headers = [], isSlow = false } = options;
  const over = Promise.withResolvers<Answered>();
  const answer: Answered = { status: 0, body: Buffer.alloc(0), end: "whole" };
  const chunks: Buffer[] = [];
  const finish = (how: Answered["end"]): void =>
    over.resolve({ ...answer, body: Buffer.concat(chunks), end: how });
  const stream = link.open(
    [method, path, ...headers, ...(body === undefined ? [] : ["Transfer-Encoding", "chunked"])],
    {
      isLast: body === undefined,
      events: {
        onHead: (payload, isLast) => {
          answer.status = Number(headParts(payload)[0]);
          if (isLast) finish("whole");
        },
        onBody: (bytes, isLast) => {
          chunks.push(Buffer.from(bytes));
          exchange.unread += bytes.length;
          if (!isSlow) stream?.in.used(bytes.length);
          if (isLast) finish("whole");
        },
        onReset: () => finish("reset"),
        onLost: () => finish("lost"),
      },
    },
  );
  assert.ok(stream);
  const exchange: Exchange = { stream, unread: 0, answered: over.promise };
  if (body !== undefined) {
    for (const chunk of [body].flat()) stream.out.write(chunk);
    stream.out.end();
  }
  return exchange;
}

function add(link: RequestLink, x: number, y: number): Promise<Answered> {
  const headers = ["Content-Type", "application/json"];
  return ask(link, "POST", "/add", { headers, body: Buffer.from(JSON.stringify({ x, y })) })
    .answered;
}

async function seen(link: RequestLink): Promise<{ aborted: number; produced: number }> {
  const { body } = await ask(link, "GET", "/seen").answered;
  return JSON.parse(body.toString()) as { aborted: number; produced: number };
}

describe("many at a time", () => {
  test("five hundred requests at once get their own answers", async () => {
    const link = await connect();
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, index) => add(link, index, 1000)),
    );
    for (const [index, { status, body }] of answers.entries()) {
      assert.equal(status, 200);
      assert.deepEqual(JSON.parse(body.toString()), { result: index + 1000 });
    }
    link.close();
  });

  test("errors are answers as over HTTP", async () => {
    const link = await connect();
    assert.equal((await ask(link, "GET", "/nowhere").answered).status, 404);
    assert.equal((await ask(link, "GET", "/add").answered).status, 405);
    const headers = ["Content-Type", "application/json"];
    const wrong = ask(link, "POST", "/add", { headers, body: Buffer.from("{") });
    assert.equal((await wrong.answered).status, 400);
    assert.equal((await ask(link, "HEAD", "/megabytes").answered).body.length, 0);
    assert.equal((await ask(link, "GET", "/ping").answered).status, 200);
    link.close();
  });
});

describe("large bodies", () => {
  test("an upload of many windows arrives whole beside others", async () => {
    const link = await connect();
    const body = Array.from({ length: 100 }, () => Buffer.alloc(70_001));
    const headers = ["Content-Type", "application/x-own"];
    const uploads = [1, 2, 3].map(() => ask(link, "POST", "/size", { headers, body }).answered);
    assert.equal((await add(link, 1, 2)).status, 200);
    for (const { body: answer } of await Promise.all(uploads)) {
      assert.deepEqual(JSON.parse(answer.toString()), {
        size: 7_000_100,
        type: "application/x-own",
      });
    }
    link.close();
  });

  test("a large answer arrives whole", async () => {
    const link = await connect();
    const { body, end: how } = await ask(link, "GET", "/megabytes").answered;
    assert.equal(how, "whole");
    assert.equal(body.length, 5_000_000);
    assert.ok(body.every((byte) => byte === 7));
    link.close();
  });

  test("a reader that stops slows its own function down, and no other", async () => {
    const link = await connect();
    const slow = ask(link, "GET", "/flood", { isSlow: true });
    let before = -1;
    // It has stopped when two answers in a row say the same.
    await until(
      async () => {
        const { produced } = await seen(link);
        const hasStopped = produced === before && slow.unread > 0;
        before = produced;
        return hasStopped;
      },
      { what: "the flood stops" },
    );
    assert.ok(slow.unread <= 128 * 1024);
    assert.ok(before < 2_000_000, `produced ${before}`);
    slow.stream.reset();
    link.close();
  });

  test("an answer that comes before the body has been read ends the request", async () => {
    const link = await connect();
    const body = Array.from({ length: 40 }, () => Buffer.alloc(60_000));
    const { status } = await ask(link, "POST", "/ignore", { body }).answered;
    assert.equal(status, 200);
    assert.equal((await add(link, 1, 1)).status, 200);
    link.close();
  });
});

describe("streams that end early", () => {
  test("a reset aborts the function while it waits, and while it streams", async () => {
    const link = await connect();
    const { aborted } = await seen(link);
    const waiting = ask(link, "GET", "/wait");
    const flooding = ask(link, "GET", "/flood", { isSlow: true });
    await until(() => flooding.unread > 0, { what: "the flood begins" });
    waiting.stream.reset();
    flooding.stream.reset();
    await until(async () => (await seen(link)).aborted === aborted + 2, {
      what: "both are aborted",
    });
    link.close();
  });

  test("a reset while the body is sent, and at once after the head, harms nobody", async () => {
    const link = await connect();
    for (const path of ["/size", "/add", "/ignore"]) {
      const begun = link.open(["POST", path, "Transfer-Encoding", "chunked"], {
        isLast: false,
        events: { onHead() {}, onBody() {}, onReset() {}, onLost() {} },
      });
      begun?.out.write(Buffer.alloc(1000));
      begun?.reset();
      begun?.reset();
    }
    assert.equal((await add(link, 2, 2)).status, 200);
    link.close();
  });

  test("the end of the connection aborts everything on it", async () => {
    const [link, other] = [await connect(), await connect()];
    const { aborted } = await seen(other);
    const waiting = [ask(link, "GET", "/wait"), ask(link, "GET", "/wait")];
    await seen(link);
    link.close();
    for (const { answered } of waiting) assert.equal((await answered).end, "lost");
    await until(async () => (await seen(other)).aborted === aborted + 2, {
      what: "both are aborted",
    });
    other.close();
  });

  test("a head that is too long for a frame breaks that answer off", async () => {
    const link = await connect();
    assert.equal((await ask(link, "GET", "/head").answered).end, "reset");
    assert.equal((await add(link, 3, 3)).status, 200);
    link.close();
  });

  test("a worker that is killed in the middle of an answer loses its streams", async () => {
    const other = WorkerProcess.start(suite, artifact);
    await other.ready();
    const link = await connect(other);
    const waiting = ask(link, "GET", "/wait").answered;
    const dying = ask(link, "GET", "/die").answered;
    assert.equal((await dying).end, "lost");
    assert.equal((await waiting).end, "lost");
    assert.equal(link.isOpen, false);
  });
});

describe("what is against the rules", () => {
  const frames: [string, number[]][] = [
    ["a type that does not exist", [0, 0, 0, 0, 0, 0, 0, 1, 9]],
    ["a length that no frame has", [255, 255, 255, 255, 0, 0, 0, 1, 2]],
    ["a drain of the wrong side", [0, 0, 0, 0, 0, 0, 0, 0, 5]],
    ["a stream that begins twice", [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]],
    ["a body after the last", [0, 0, 0, 0, 0, 0, 0, 1, 129, 0, 0, 0, 0, 0, 0, 0, 1, 2]],
  ];
  for (const [what, bytes] of frames) {
    test(`${what} ends the connection, and no other`, async () => {
      const link = await connect();
      const socket = net.connect(linkPathOf(worker.socketPath));
      const [greeting] = (await once(socket, "data")) as [Buffer];
      assert.equal(greeting.toString(), LB_LINK_GREETING);
      socket.on("data", () => undefined);
      socket.write(Buffer.from(bytes));
      await once(socket, "close");
      assert.equal((await add(link, 4, 4)).status, 200);
      link.close();
    });
  }

  test("what is no link of this version is left alone", async () => {
    assert.equal(await RequestLink.connect(worker.socketPath.concat(".none")), undefined);
    const server = net.createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const path = worker.socketPath.concat(".http");
    server.listen(path);
    await once(server, "listening");
    assert.equal(await RequestLink.connect(path), undefined);
    server.close();
  });
});

describe("the end of a worker", () => {
  test("SIGTERM: what runs is finished, nothing new begins, and the process ends", async () => {
    const other = WorkerProcess.start(suite, artifact);
    await other.ready();
    const link = await connect(other);
    const slow = ask(link, "GET", "/megabytes", { isSlow: true });
    await until(() => slow.unread > 0, { what: "the answer begins" });
    other.child.kill("SIGTERM");
    await until(() => !link.isOpen, { what: "the worker drains" });
    let isOver = false;
    void slow.answered.then(() => (isOver = true));
    // Granted bit by bit from here on.
    while (slow.unread > 0) {
      const bytes = slow.unread;
      slow.unread = 0;
      slow.stream.in.used(bytes);
      await until(() => slow.unread > 0 || isOver, { what: "more comes" });
    }
    assert.equal((await slow.answered).body.length, 5_000_000);
    assert.deepEqual(await other.exited, { code: 0, signal: null });
  });
});
