/** The SDK as others bundle it: for browsers and edge runtimes, and as small as it can be. */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { PROGRAMS, measure } from "../../bench/sdk-size.ts";
import { run } from "../support/program.ts";
import { temporaryFolder } from "../support/temp.ts";
import { FakeServer, KEY, job } from "./fake-server.ts";

describe("the bundled SDK", () => {
  // Figures of the day with 1 % to grow. The first one is a promise: under 25 KiB.
  const limits: [program: keyof typeof PROGRAMS, bytes: number][] = [
    ["a client", 25 * 1024],
    ["a client and EndpointJob", 28.5 * 1024],
  ];
  for (const [program, limit] of limits) {
    test(`${program} loads less than ${limit / 1024} KiB before the first call`, async () => {
      const { upFrontBytes, parts } = await measure(PROGRAMS[program]);
      assert.ok(upFrontBytes < limit, `${upFrontBytes} bytes: ${JSON.stringify(parts, null, 1)}`);
    });
  }

  test("needs no module of Node, and nothing of other rooms", async () => {
    const { imports, parts } = await measure(PROGRAMS.everything);
    assert.deepEqual(imports, []);
    const strange = parts.filter(
      ([file]) => !/^src\/(sdk|contract|kit)\/|^program\.js$/.test(file),
    );
    assert.deepEqual(strange, []);
  });

  test("what declares an endpoint loads none of the binder and the validator", async () => {
    const declaring = `import { Endpoint, LiveLoadBalancer, remote, where } from "runpod-flash";
const live = remote(new LiveLoadBalancer({ name: "l" }), { method: "GET", path: "/" }, () => 1);
console.log(Endpoint({ name: "e" }, () => 1), live, where(live));`;
    const { parts } = await measure(declaring);
    const files = new Set(parts.map(([file]) => file));
    assert.ok(files.has("src/sdk/place.ts"));
    for (const file of ["binder", "validator", "carry", "schema", "openapi"]) {
      assert.ok(!files.has(`src/contract/${file}.ts`), file);
    }
  });
});

const REALM = path.join(import.meta.dirname, "web-realm.ts");

describe("in an environment with nothing but web standards", () => {
  test("a client submits, waits, streams, cancels, and calls routes", async (t) => {
    const fake = await FakeServer.open(t);
    fake
      .on("POST /v2/abc/runsync", job({ output: { sum: 3 } }))
      .on("POST /v2/abc/run", job({ status: "IN_QUEUE" }))
      .on(
        "GET /v2/abc/status/job-1",
        { status: 503, headers: { "retry-after": "0" } },
        job({ output: "done" }),
      )
      .on(
        "GET /v2/abc/stream/job-1",
        { body: { status: "COMPLETED", stream: [{ output: 1 }, { output: 2 }] } },
        { body: { status: "COMPLETED", stream: [] } },
      )
      .on("POST /v2/abc/cancel/job-1", job({ status: "CANCELLED" }))
      .on("POST /lb/abc/hello", { body: { hello: "you" } })
      .on("GET /v2/abc/health", { status: 401, body: "no" });
    const client = `
import { Endpoint, configure } from "runpod-flash";
const endpoint = Endpoint({ id: "abc" });
console.log((await endpoint.run().catch((error) => error)).code);
const double = Endpoint({ name: "double" }, (x) => x * 2);
console.log(await double(4), await (await double.run(5)).result());
configure({ url: ${JSON.stringify(fake.url)}, apiKey: ${JSON.stringify(KEY)} });
console.log(typeof process, typeof Buffer);
console.log(JSON.stringify((await endpoint.runsync({ a: 1, b: 2 })).output));
const job = await endpoint.run({});
console.log(await job.result());
const chunks = [];
for await (const chunk of endpoint.stream("job-1")) chunks.push(chunk);
console.log(chunks.join());
console.log(String(await endpoint.cancel("job-1")));
console.log((await endpoint.post("/hello", { to: "you" })).hello);
console.log((await endpoint.health().catch((error) => error)).code);
`;
    const folder = temporaryFolder(t);
    const { entry } = await measure(client, { outdir: folder });
    const flags = ["--experimental-vm-modules", "--no-warnings"];
    const finished = await run([process.execPath, ...flags, REALM, entry], {
      cwd: folder,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    assert.equal(finished.code, 0, finished.stderr);
    assert.deepEqual(finished.stdout.trim().split("\n"), [
      "UNAUTHORIZED",
      "8 10",
      "undefined undefined",
      '{"sum":3}',
      "done",
      "1,2",
      "EndpointJob(id='job-1', status='CANCELLED')",
      "you",
      "UNAUTHORIZED",
    ]);
    assert.equal(fake.last("POST /v2/abc/run").headers.authorization, `Bearer ${KEY}`);
  });
});
