/** The way to a Flash server and back, against a real HTTP server that can be made to misbehave. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { openCloud, serverUrl } from "../../src/clouds/clouds.ts";
import type { Artifact, Cloud } from "../../src/contract/cloud.ts";
import { FlashError } from "../../src/contract/errors.ts";
import type { Manifest } from "../../src/contract/manifest.ts";
import { ControlServer, sendJson, sha256 } from "../support/control-server.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";

const TARGET = { app: "shop", environment: "staging" };

async function open(t: TestContext): Promise<{ server: ControlServer; cloud: Cloud }> {
  const server = await ControlServer.start(t);
  return { server, cloud: openCloud(`${server.url}/`, "flash_secret") };
}

function artifact(t: TestContext, bytes: Buffer): Artifact {
  const file = path.join(temporaryFolder(t), "artifact.tar.gz");
  writeFileSync(file, bytes);
  const manifest: Manifest = {
    version: 1,
    app: "shop",
    builtWith: "0.0.0",
    endpoints: [],
    fingerprint: "",
  };
  return { file, digest: sha256(bytes), bytes: bytes.length, manifest };
}

/** Takes uploads as the server does, and says what has come. */
function acceptUploads(server: ControlServer): () => Buffer {
  const parts: Buffer[] = [];
  const state = (digest: string | undefined) => {
    const offset = Buffer.concat(parts).length;
    return { app: "shop", digest, offset, build: null };
  };
  server.routes.set("GET /api/v1/uploads", ({ query }, response) =>
    sendJson(response, state(query.digest)),
  );
  server.routes.set("PUT /api/v1/uploads", ({ body, query }, response) => {
    assert.equal(query.offset, String(Buffer.concat(parts).length));
    parts.push(body);
    sendJson(response, state(query.digest));
  });
  server.routes.set("POST /api/v1/uploads/complete", ({ query }, response) => {
    const whole = Buffer.concat(parts);
    const document = { id: "build_1", app: query.app, digest: sha256(whole), bytes: whole.length };
    sendJson(response, document);
  });
  return () => Buffer.concat(parts);
}

const withCode = (code: string) => (error: unknown) => FlashError.is(error) && error.code === code;

describe("deploying", () => {
  test("the artifact is uploaded whole with the key, and its build is released", async (t) => {
    const { server, cloud } = await open(t);
    const document = { ...TARGET, build: "build_1", release: "rel_1", target: "", endpoints: [] };
    const arrived = acceptUploads(server);
    server.json("POST /api/v1/deployments", document);
    const bytes = Buffer.alloc(20_000_000, "flash");
    const told: string[] = [];

    const result = await cloud.deploy(artifact(t, bytes), TARGET, {
      onProgress: (message) => told.push(message),
    });

    assert.deepEqual(result, document);
    assert.ok(arrived().equals(bytes));
    const [look, part] = server.requests;
    assert.deepEqual(look?.query, { app: "shop", digest: sha256(bytes) });
    assert.equal(part?.authorization, "Bearer flash_secret");
    const parts = server.requests.filter(({ method }) => method === "PUT");
    assert.deepEqual(
      parts.map(({ body }) => body.length),
      [8_388_608, 8_388_608, 3_222_784],
    );
    const release = server.requests.at(-1);
    assert.deepEqual(JSON.parse(String(release?.body)), { ...TARGET, build: "build_1" });
    assert.deepEqual(told, ["uploaded 20.0 MB", "deploying..."]);
  });

  test("an upload is repeated when the connection breaks", async (t) => {
    const { server, cloud } = await open(t);
    acceptUploads(server);
    server.json("POST /api/v1/deployments", { ...TARGET, endpoints: [] });
    server.cuts = 2;
    await cloud.deploy(artifact(t, Buffer.from("bytes")), TARGET);
    assert.deepEqual(
      server.requests.map(({ path }) => path),
      ["/api/v1/uploads", "/api/v1/uploads", "/api/v1/uploads/complete", "/api/v1/deployments"],
    );
  });

  test("a release is never made twice behind the caller's back", async (t) => {
    const { server, cloud } = await open(t);
    acceptUploads(server);
    let releases = 0;
    server.routes.set("POST /api/v1/deployments", (_, response) => {
      releases += 1;
      response.destroy();
    });
    const deployed = cloud.deploy(artifact(t, Buffer.from("bytes")), TARGET);
    await assert.rejects(deployed, withCode("CONNECTION_FAILED"));
    assert.equal(releases, 1);
  });

  test("a damaged upload is not released", async (t) => {
    const { server, cloud } = await open(t);
    acceptUploads(server);
    const damaged = new FlashError("INVALID_REQUEST", "The artifact arrived damaged");
    server.fail("POST /api/v1/uploads/complete", damaged);
    const deployed = cloud.deploy(artifact(t, Buffer.from("bytes")), TARGET);
    await assert.rejects(deployed, /arrived damaged/);
    assert.ok(!server.requests.some(({ path }) => path.endsWith("/deployments")));
  });

  test("what the server has already is not sent again", async (t) => {
    const { server, cloud } = await open(t);
    const build = { id: "build_7", app: "shop", digest: "", bytes: 5 };
    server.json("GET /api/v1/uploads", { app: "shop", digest: "", offset: 5, build });
    server.json("POST /api/v1/deployments", { ...TARGET, endpoints: [] });
    await cloud.deploy(artifact(t, Buffer.from("bytes")), TARGET);
    assert.deepEqual(
      server.requests.map(({ method }) => method),
      ["GET", "POST"],
    );
  });

  test("a missing artifact is an error, not a hanging request", async (t) => {
    const { server, cloud } = await open(t);
    acceptUploads(server);
    const gone = { ...artifact(t, Buffer.from("bytes")), file: "/nowhere/artifact.tar.gz" };
    await assert.rejects(cloud.deploy(gone, TARGET), withCode("BUILD_FAILED"));
  });
});

describe("errors", () => {
  test("the server's own error arrives with code, message, hint and issues", async (t) => {
    const { server, cloud } = await open(t);
    const issues = [{ path: "x", message: "is wrong" }];
    server.fail(
      "GET /api/v1/status",
      new FlashError("NOT_DEPLOYED", "shop is not there", { hint: "deploy it", issues }),
    );
    await assert.rejects(cloud.status(TARGET), {
      code: "NOT_DEPLOYED",
      message: "shop is not there",
      hint: "deploy it",
      issues,
    });
  });

  test("a refused key says which server refused it and where its key is", async (t) => {
    const { server, cloud } = await open(t);
    server.fail("GET /api/v1/environments", new FlashError("UNAUTHORIZED", "no"));
    await assert.rejects(cloud.environments("shop"), {
      code: "UNAUTHORIZED",
      message: `${server.url} does not accept the key. no`,
    });
  });

  test("a key that no header can carry is refused before anything is sent", async (t) => {
    const { server } = await open(t);
    for (const key of ["two\nlines", "ключ", "with space"]) {
      const cloud = openCloud(server.url, key);
      await assert.rejects(cloud.environments("shop"), withCode("UNAUTHORIZED"));
    }
    assert.deepEqual(server.requests, []);
  });

  test("nobody listening is told apart from a broken connection", async (t) => {
    const { server, cloud } = await open(t);
    await server.close();
    await assert.rejects(cloud.status(TARGET), withCode("SERVER_NOT_RUNNING"));
    const unknown = openCloud("http://host.invalid:1", undefined);
    await assert.rejects(unknown.status(TARGET), withCode("CONNECTION_FAILED"));
  });

  test("an answer that is not of a Flash server is an error that says so", async (t) => {
    const { server, cloud } = await open(t);
    server.routes.set("GET /api/v1/status", (_, response) => {
      response.end("<h1>hello</h1>");
    });
    await assert.rejects(cloud.status(TARGET), /not JSON/);
    await assert.rejects(cloud.environments("shop"), /answered GET .* with 404/);
  });

  test("an aborted request ends at once with the reason", async (t) => {
    const { server, cloud } = await open(t);
    const stop = new AbortController();
    server.routes.set("GET /api/v1/status", () => stop.abort(new Error("enough")));
    await assert.rejects(cloud.status(TARGET, { signal: stop.signal }), /enough/);
  });
});

describe("status, removal and logs", () => {
  test("app, environment and endpoint travel in the query", async (t) => {
    const { server, cloud } = await open(t);
    server.json("GET /api/v1/status", { ...TARGET, endpoints: [] });
    server.json("DELETE /api/v1/endpoints", { ...TARGET, removed: ["a b"] });
    await cloud.status(TARGET);
    assert.deepEqual((await cloud.undeploy(TARGET, "a b")).removed, ["a b"]);
    await cloud.undeploy(TARGET);
    assert.deepEqual(
      server.requests.map(({ query }) => query),
      [TARGET, { ...TARGET, name: "a b" }, TARGET],
    );
  });

  test("log lines arrive one by one while the server goes on writing", async (t) => {
    const { server, cloud } = await open(t);
    let say: (message: string) => void = () => undefined;
    let hasEnded = false;
    server.routes.set("GET /api/v1/logs", (_, response) => {
      say = (message) => response.write(`${JSON.stringify({ message })}\n`);
      response.on("close", () => (hasEnded = true));
      say("ä first");
    });
    const stop = new AbortController();
    const seen: string[] = [];
    const reading = (async () => {
      const request = { endpoint: "api", tail: 5, follow: true };
      for await (const { message } of cloud.logs(TARGET, request, { signal: stop.signal })) {
        seen.push(message);
        if (seen.length === 1) say("second");
        else stop.abort(new Error("enough"));
      }
    })();
    await assert.rejects(reading, /enough/);
    assert.deepEqual(seen, ["ä first", "second"]);
    assert.deepEqual(server.requests[0]?.query, {
      ...TARGET,
      endpoint: "api",
      tail: "5",
      follow: "1",
    });
    await until(() => hasEnded, { what: "the end of the connection" });
  });

  test("a log that breaks off is an error, not an end", async (t) => {
    const { server, cloud } = await open(t);
    server.routes.set("GET /api/v1/logs", (_, response) => {
      response.write('{"message":"one"}\n', () => response.destroy());
    });
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { message } of cloud.logs(TARGET, { tail: 1, follow: false })) {
        seen.push(message);
      }
    })();
    await assert.rejects(reading, withCode("CONNECTION_FAILED"));
    assert.deepEqual(seen, ["one"]);
  });
});

test("a target is a base URL: a slash at the end, a query and white space do not matter", () => {
  assert.equal(serverUrl(" https://flash.example.com/ "), "https://flash.example.com");
  assert.equal(serverUrl("http://h:1/base/?x=1"), "http://h:1/base");
  for (const wrong of ["", "localhost:4747", "ftp://h", "runpod"]) {
    assert.throws(() => serverUrl(wrong), withCode("INVALID_CONFIG"), wrong);
  }
});

test("packages are installed for what the server's workers run on; an older server does not say", async (t) => {
  const { server, cloud } = await open(t);
  const platform = { os: "darwin", cpu: "arm64", libc: null };
  server.json("GET /api/v1/server", { version: "1", platform });
  assert.deepEqual(await cloud.platform(), platform);
  server.json("GET /api/v1/server", { version: "1" });
  assert.deepEqual(await cloud.platform(), { os: "linux", cpu: "x64", libc: "glibc" });
});
