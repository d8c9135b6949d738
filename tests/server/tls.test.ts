/** TLS with a real self-signed certificate, proxies in front, and uploads over both. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import path from "node:path";
import tls from "node:tls";
import { before, describe, test, type TestContext } from "node:test";
import { FlashServerCloud } from "../../src/clouds/clouds.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import { clientAddress } from "../../src/server/gateway/client-address.ts";
import { brittleProxy } from "../support/brittle-proxy.ts";
import { freePort } from "../support/flash.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { machine } from "../cli/cli.ts";
import { backwards, manifestOf, pack, TestServer } from "./server-support.ts";

const FILES = path.join(import.meta.dirname, "tls");
const API = { name: "api", kind: "lb" } as const;
const first = readFileSync(path.join(FILES, "first.crt"), "utf8");
const second = readFileSync(path.join(FILES, "second.crt"), "utf8");

/** A folder with the first certificate, which a test may replace. */
function certificate(t: TestContext): { cert: string; key: string } {
  const folder = temporaryFolder(t, "flash-tls");
  const files = { cert: path.join(folder, "tls.crt"), key: path.join(folder, "tls.key") };
  use(files, "first");
  return files;
}

function use(files: { cert: string; key: string }, name: "first" | "second"): void {
  copyFileSync(path.join(FILES, `${name}.crt`), files.cert);
  copyFileSync(path.join(FILES, `${name}.key`), files.key);
}

/** Common name of the certificate that a server shows. */
function nameShown(url: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = tls.connect(
      { host: "127.0.0.1", port: Number(port), ca: [first, second] },
      () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

function get(url: string, key: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { ca: first, headers: { authorization: key }, agent: false });
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
      });
    });
  });
}

describe("a server with TLS", () => {
  // As NODE_EXTRA_CA_CERTS does for a process of its own.
  before(() => tls.setDefaultCACertificates([...tls.getCACertificates("default"), first]));

  test("serves every plane, and its own workers reach it", async (t) => {
    const server = await TestServer.start(t, { tls: certificate(t) });
    assert.match(server.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    assert.match(server.server.localUrl, /^http:\/\/127\.0\.0\.1:\d+$/);
    const { endpoints } = await server.deploy("shop", [API, { name: "queue", kind: "qb" }]);
    const urlOf = (name: string) => endpoints.find((one) => one.name === name)?.url ?? "";
    assert.ok(urlOf("api").startsWith(server.url));
    const { key } = server.server;
    assert.equal((await get(`${urlOf("api")}/pid`, key)).status, 200);
    assert.equal((await get(`${server.url}/livez`, "")).status, 200);
    const path = urlOf("queue").slice(server.url.length);
    const local = `${server.server.localUrl}${path}`;
    const body = JSON.stringify({ input: {} });
    const job = await server.request(`${local}/runsync`, { method: "POST", body });
    assert.equal(job.json.status, "COMPLETED", job.text);
    assert.equal(JSON.parse((await get(`${urlOf("queue")}/health`, key)).text).jobs.completed, 1);
  });

  test("an upload whose connections are killed arrives whole", async (t) => {
    const owner = backwards(t);
    const server = await TestServer.start(owner, { tls: certificate(t) });
    const bytes = await pack([
      { target: MANIFEST_FILE, content: JSON.stringify(manifestOf("shop", [API])) },
      { target: WORKER_FILE, content: "// nothing" },
      { target: "endpoints/api/index.mjs", content: "export {};" },
      { target: "ballast", content: randomBytes(9_000_000) },
    ]);
    const file = path.join(temporaryFolder(owner), "artifact.tar.gz");
    writeFileSync(file, bytes);
    const proxy = await brittleProxy(owner, server.url, 2);
    const url = `https://127.0.0.1:${proxy.port}`;
    const cloud = new FlashServerCloud({ url, key: server.server.key });
    const digest = createHash("sha256").update(bytes).digest("hex");
    const artifact = { file, digest, bytes: bytes.length, manifest: manifestOf("shop", [API]) };
    const { endpoints } = await cloud.deploy(artifact, { app: "shop", environment: "dev" });
    assert.equal(endpoints.length, 1);
    assert.equal(proxy.cutsLeft(), 0);
  });

  test("takes a renewed certificate without a restart, and keeps the old one when the new is broken", async (t) => {
    const files = certificate(t);
    const server = await TestServer.start(t, { tls: files });
    assert.equal(await nameShown(server.url), "flash-test-first");
    use(files, "second");
    await server.server.reloadTls();
    assert.equal(await nameShown(server.url), "flash-test-second");
    writeFileSync(files.cert, first);
    await assert.rejects(server.server.reloadTls(), /no certificate and its key/);
    assert.equal(await nameShown(server.url), "flash-test-second");
  });

  test("does not start with files that are missing or do not belong together", async (t) => {
    const files = certificate(t);
    const missing = { ...files, key: "/nowhere/tls.key" };
    await assert.rejects(
      TestServer.start(t, { tls: missing }),
      /tls\.key cannot be read \(ENOENT\)/,
    );
    copyFileSync(path.join(FILES, "second.key"), files.key);
    await assert.rejects(TestServer.start(t, { tls: files }), /no certificate and its key/);
  });
});

describe("flash with a server that speaks TLS", () => {
  test("commands of its machine need no certificate, others trust it by NODE_EXTRA_CA_CERTS, SIGHUP renews it", async (t) => {
    const files = certificate(t);
    const port = await freePort();
    const box = machine(t, { FLASH_PORT: String(port) });
    const start = ["server", "start", "--tls-cert", files.cert, "--tls-key", files.key];
    const started = await box.flash(...start);
    assert.equal(started.code, 0, started.stderr);
    const url = `https://127.0.0.1:${port}`;
    assert.match(started.stdout, new RegExp(`runs at ${url}`));
    assert.match((await box.flash("server", "status")).stdout, new RegExp(`running at ${url}`));
    const made = await box.flash("keys", "create", "remote", "--verbs", "admin");
    assert.equal(made.code, 0, made.stderr);
    const remote = { FLASH_URL: url, FLASH_API_KEY: made.stdout.trim() };
    const distrusted = await machine(t, remote).flash("keys", "list");
    assert.equal(distrusted.code, 4);
    assert.match(distrusted.stderr, /certificate of .* is not trusted.*\n.*NODE_EXTRA_CA_CERTS/);
    const trusting = machine(t, { ...remote, NODE_EXTRA_CA_CERTS: files.cert });
    assert.match((await trusting.flash("keys", "list")).stdout, /remote +key_/);
    const { pid } = JSON.parse((await box.flash("server", "status", "--json")).stdout);
    use(files, "second");
    process.kill(pid, "SIGHUP");
    await until(async () => (await nameShown(url)) === "flash-test-second", {
      what: "the renewed certificate",
    });
    assert.equal((await box.flash("server", "start", "--tls-cert", files.cert)).code, 2);
  });
});

describe("a server behind a proxy", () => {
  test("names itself by its public URL and answers to that name", async (t) => {
    const server = await TestServer.start(t, { publicUrl: "https://flash.example.com" });
    const { endpoints } = await server.deploy("shop", [API]);
    assert.match(endpoints[0]?.url ?? "", /^https:\/\/flash\.example\.com\/lb\//);
    const ask = (host: string) =>
      server.request(`${server.server.localUrl}/api/v1/server`, { headers: { host } });
    assert.equal((await ask("flash.example.com")).json.url, "https://flash.example.com");
    assert.equal((await ask("evil.example.com")).status, 403);
  });

  test("believes X-Forwarded-For only when it is told to", async (t) => {
    const fromOf = async (trustProxy: boolean): Promise<string> => {
      const server = await TestServer.start(t, { trustProxy });
      const headers = { "x-forwarded-for": "6.6.6.6, 203.0.113.9" };
      await server.request("/api/v1/keys?key=none", { method: "DELETE", headers });
      return (await server.request("/api/v1/audit")).json.entries[0].from;
    };
    assert.equal(await fromOf(false), "127.0.0.1");
    assert.equal(await fromOf(true), "203.0.113.9");
    const socket = { remoteAddress: "::ffff:10.0.0.1" };
    assert.equal(clientAddress({ headers: {}, socket }, { trustsProxy: true }), "10.0.0.1");
  });
});
