/** Uploads in parts: over broken connections, from several clients, with damage and with too much. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { describe, test } from "node:test";
import { FlashServerCloud } from "../../src/clouds/clouds.ts";
import { LIMITS } from "../../src/contract/limits.ts";
import type { Manifest } from "../../src/contract/manifest.ts";
import { temporaryFolder } from "../support/temp.ts";
import { brittleProxy } from "../support/brittle-proxy.ts";
import { until } from "../support/until.ts";
import { backwards, manifestOf, pack, TestServer } from "./server-support.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";

const API = { name: "api", kind: "lb" } as const;

/** An artifact that does not compress, so that it takes many parts. */
async function largeArtifact(bytes: number): Promise<{ bytes: Buffer; digest: string }> {
  const artifact = await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifestOf("shop", [API])) },
    { target: WORKER_FILE, content: "// nothing" },
    { target: "endpoints/api/index.mjs", content: "export {};" },
    { target: "ballast", content: randomBytes(bytes) },
  ]);
  return { bytes: artifact, digest: digestOf(artifact) };
}

function digestOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

interface Part {
  digest: string;
  offset: number;
  bytes: number;
}

function put(server: TestServer, { digest, offset, bytes }: Part, body: Buffer) {
  const query = `app=shop&digest=${digest}&offset=${offset}&bytes=${bytes}`;
  return server.request(`/api/v1/uploads?${query}`, { method: "PUT", body });
}

function look(server: TestServer, digest: string) {
  return server.request(`/api/v1/uploads?app=shop&digest=${digest}`);
}

function complete(server: TestServer, digest: string) {
  return server.request(`/api/v1/uploads/complete?app=shop&digest=${digest}`, { method: "POST" });
}

describe("uploads", () => {
  test("a connection that is killed in the middle costs only what was on its way", async (t) => {
    const owner = backwards(t);
    const server = await TestServer.start(owner);
    const { bytes, digest } = await largeArtifact(12_000_000);
    const file = path.join(temporaryFolder(owner), "artifact.tar.gz");
    writeFileSync(file, bytes);
    const proxy = await brittleProxy(owner, server.url, 3);
    const cloud = new FlashServerCloud({
      url: `http://127.0.0.1:${proxy.port}`,
      key: server.server.key,
    });
    const manifest: Manifest = manifestOf("shop", [API]);
    const target = { app: "shop", environment: "dev" };
    const deployed = await cloud.deploy({ file, digest, bytes: bytes.length, manifest }, target);
    assert.equal(proxy.cutsLeft(), 0);
    assert.equal(deployed.endpoints.length, 1);
    assert.equal((await look(server, digest)).json.build.digest, digest);
    assert.deepEqual(readdirSync(path.join(server.home, "uploads", "shop")), []);
  });

  test("another client goes on where the first one stopped", async (t) => {
    const server = await TestServer.start(t);
    const { bytes, digest } = await largeArtifact(100_000);
    const part = { digest, bytes: bytes.length };
    const first = await put(server, { ...part, offset: 0 }, bytes.subarray(0, 40_000));
    assert.deepEqual(first.json, { app: "shop", digest, offset: 40_000, build: null });
    const wrong = await put(server, { ...part, offset: 30_000 }, bytes.subarray(30_000));
    assert.equal(wrong.status, 409);
    assert.match(wrong.json.detail, /has 40000 bytes/);
    const early = await complete(server, digest);
    assert.equal(early.status, 400);
    await put(server, { ...part, offset: 0 }, bytes.subarray(0, 40_000));
    await put(server, { ...part, offset: 40_000 }, bytes.subarray(40_000));
    assert.equal((await complete(server, digest)).status, 200);
  });

  test("a request that hangs gives way to a newer one, and what it sent stays", async (t) => {
    const server = await TestServer.start(t);
    const { bytes, digest } = await largeArtifact(200_000);
    const query = `app=shop&digest=${digest}&offset=0&bytes=${bytes.length}`;
    const hanging = http.request(`${server.url}/api/v1/uploads?${query}`, {
      method: "PUT",
      headers: { authorization: server.server.key, "content-length": bytes.length },
    });
    hanging.on("error", () => undefined);
    t.after(() => hanging.destroy());
    hanging.write(bytes.subarray(0, 50_000));
    await until(async () => (await look(server, digest)).json.offset === 50_000, {
      what: "the first bytes",
    });
    const rest = { digest, offset: 50_000, bytes: bytes.length };
    assert.equal((await put(server, rest, bytes.subarray(50_000))).status, 200);
    assert.equal((await complete(server, digest)).status, 200);
  });

  test("several clients with the same artifact make one build", async (t) => {
    const owner = backwards(t);
    const server = await TestServer.start(owner);
    const { bytes, digest } = await largeArtifact(9_000_000);
    const file = path.join(temporaryFolder(owner), "artifact.tar.gz");
    writeFileSync(file, bytes);
    const artifact = { file, digest, bytes: bytes.length, manifest: manifestOf("shop", [API]) };
    const documents = await Promise.all(
      ["one", "two", "three"].map((environment) => {
        const cloud = new FlashServerCloud({ url: server.url, key: server.server.key });
        return cloud.deploy(artifact, { app: "shop", environment });
      }),
    );
    assert.equal(new Set(documents.map(({ build }) => build)).size, 1);
    assert.equal(readdirSync(path.join(server.home, "builds")).length, 1);
  });

  test("damage is found before anything becomes a build, and the next upload starts anew", async (t) => {
    const server = await TestServer.start(t);
    const { bytes, digest } = await largeArtifact(10_000);
    const damaged = Buffer.from(bytes);
    damaged[5000] = (damaged[5000] ?? 0) ^ 1;
    await put(server, { digest, offset: 0, bytes: bytes.length }, damaged);
    const refused = await complete(server, digest);
    assert.equal(refused.status, 400);
    assert.match(refused.json.detail, /arrived damaged/);
    assert.ok(!existsSync(path.join(server.home, "builds")));
    assert.equal((await look(server, digest)).json.offset, 0);
  });

  test("more than was announced, or than is allowed, is refused", async (t) => {
    const server = await TestServer.start(t);
    const digest = "0".repeat(64);
    const more = await put(server, { digest, offset: 0, bytes: 10 }, Buffer.alloc(11));
    assert.equal(more.status, 413);
    const huge = { digest, offset: 0, bytes: LIMITS.artifactBytes + 1 };
    assert.equal((await put(server, huge, Buffer.alloc(1))).status, 413);
    for (const name of ["../../etc/passwd", "ABC", "0".repeat(63)]) {
      assert.equal((await look(server, encodeURIComponent(name))).status, 400);
    }
    const app = await server.request(`/api/v1/uploads?app=..%2F..&digest=${digest}`);
    assert.equal(app.status, 400);
  });

  test("what nobody has gone on with for a day is dropped", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-uploads");
    const folder = path.join(home, "uploads", "shop");
    mkdirSync(folder, { recursive: true });
    const [old, fresh] = ["0".repeat(64), "1".repeat(64)];
    for (const name of [old, fresh]) writeFileSync(path.join(folder, name), "x");
    const yesterday = Date.now() / 1000 - 25 * 3600;
    utimesSync(path.join(folder, old), yesterday, yesterday);
    await TestServer.start(owner, { home });
    assert.deepEqual(readdirSync(folder), [fresh]);
  });
});
