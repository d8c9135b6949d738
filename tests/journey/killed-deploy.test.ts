/**
 * `flash deploy` killed with SIGKILL wherever it may be, and run again: the same state as without the
 * kill. A proxy between the command and the server sees every request, so that the kill falls before it,
 * while it is under way, or after the server has done what it asks.
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { ReleasesDocument, StatusDocument } from "../../src/contract/control.ts";
import { Deployment, Sandbox } from "../support/flash.ts";
import { Program, type Finished } from "../support/program.ts";
import { writeFiles } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { adder, takesOver } from "./projects.ts";

const FLASH = path.join(import.meta.dirname, "../../bin/flash.js");

type Moment = "before" | "half" | "after";

/** Passes requests on to a server, and tells when one of them is at a certain point. */
class Proxy {
  readonly #server: http.Server;
  readonly seen: string[] = [];
  #watch: { index: number; moment: Moment; run: () => void } | undefined;

  private constructor(server: http.Server) {
    this.#server = server;
  }

  static async start(target: string): Promise<Proxy> {
    const server = http.createServer();
    const proxy = new Proxy(server);
    server.on("request", (request, response) => proxy.#pass(target, request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Calls `run` when request number `index` from now is at the moment. */
  watch(index: number, moment: Moment, run: () => void): void {
    this.seen.length = 0;
    this.#watch = { index, moment, run };
  }

  ignore(): void {
    this.seen.length = 0;
    this.#watch = undefined;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(target: string, request: http.IncomingMessage, response: http.ServerResponse): void {
    const moment = this.#watch?.index === this.seen.length ? this.#watch.moment : undefined;
    const run = this.#watch?.run ?? (() => undefined);
    this.seen.push(`${request.method} ${new URL(request.url ?? "/", target).pathname}`);
    if (moment === "before") {
      run();
      return;
    }
    const { method, headers } = request;
    const outgoing = http.request(new URL(request.url ?? "/", target), { method, headers });
    const end = (): void => void response.destroy();
    outgoing.on("error", end);
    response.on("close", () => outgoing.destroy());
    if (moment === "half") {
      request.once("data", (chunk: Buffer) => {
        outgoing.write(chunk.subarray(0, chunk.length / 2));
        run();
      });
      request.once("end", run);
      return;
    }
    outgoing.on("response", (answer) => {
      if (moment === "after") {
        // The server has done it, and nobody will hear of it.
        answer.resume();
        answer.on("end", run);
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(outgoing);
  }
}

const steps: (() => void | Promise<void>)[] = [];
const owner = { after: (run: () => void | Promise<void>) => void steps.push(run) };
let sandbox: Sandbox;
let proxy: Proxy;

before(async () => {
  sandbox = await Sandbox.open(owner);
  await sandbox.serve();
  proxy = await Proxy.start(sandbox.url);
});

after(async () => {
  await proxy.close();
  for (const step of steps.reverse()) await step();
});

/** `flash deploy` through the proxy. */
function deploying(folder: string): Program {
  const env = { ...sandbox.env, FLASH_API_KEY: sandbox.key, FLASH_URL: proxy.url };
  return Program.start(owner, [process.execPath, FLASH, "deploy", "--json"], { cwd: folder, env });
}

async function deployed(folder: string): Promise<Deployment> {
  const finished: Finished = await deploying(folder).finished;
  assert.equal(finished.code, 0, finished.stderr);
  return new Deployment(sandbox, JSON.parse(finished.stdout) as never);
}

async function read<T>(what: string, app: string): Promise<T> {
  const url = `${sandbox.url}/api/v1/${what}?app=${app}&environment=production`;
  return (await (await sandbox.fetch(url)).json()) as T;
}

/** Deploys what is in the folder, whose code answers then. */
async function deployedAs(folder: string, marker: string): Promise<Deployment> {
  return await takesOver(() => deployed(folder), {
    marker,
    ask: async (deployment) =>
      ((await deployment.call("api", "GET /who")).json as { marker: string }).marker,
  });
}

/** The state is that of exactly `releases` deployments. */
async function assertState(app: string, releases: number): Promise<void> {
  const known = (await read<ReleasesDocument>("releases", app)).releases;
  // Old ones go; their numbers stay taken.
  assert.equal(known[0]?.version, releases, "releases");
  const status = await read<StatusDocument>("status", app);
  assert.deepEqual(status.drift, []);
  assert.equal(status.release, known[0]?.id);
  const uploads = path.join(sandbox.home, "uploads", app);
  assert.deepEqual(existsSync(uploads) ? readdirSync(uploads) : [], [], "unfinished uploads");
  const builds = readdirSync(path.join(sandbox.home, "builds"));
  assert.deepEqual(
    builds.filter((name) => name.startsWith(".")),
    [],
    "unfinished builds",
  );
}

describe("flash deploy", () => {
  test("killed at any request, and run again, ends as if it had not been killed", async () => {
    const app = "killed";
    const folder = sandbox.project(adder("api", "v1"), app);
    proxy.ignore();
    const first = await deployed(folder);
    const requests = [...proxy.seen];
    assert.ok(
      requests.some((one) => one.endsWith("/deployments")),
      requests.join(),
    );
    assert.ok(requests.length >= 4, requests.join());
    let releases = 1;
    for (const [index, request] of requests.entries()) {
      const moments: Moment[] = request.startsWith("PUT")
        ? ["before", "half", "after"]
        : ["before", "after"];
      for (const moment of moments) {
        releases += 1;
        const marker = `v${releases}`;
        writeFiles(folder, adder("api", marker));
        const reached = new Promise<void>((resolve) => {
          proxy.watch(index, moment, () => {
            killed.child.kill("SIGKILL");
            resolve();
          });
        });
        const killed = deploying(folder);
        await reached;
        assert.equal((await killed.finished).signal, "SIGKILL");
        proxy.ignore();
        const again = await deployedAs(folder, marker);
        assert.deepEqual(again.endpoint("api"), first.endpoint("api"));
        await assertState(app, releases).catch((cause: unknown) => {
          throw new Error(`killed ${moment} ${request}: ${String(cause)}`, { cause });
        });
      }
    }
  });

  test("killed at any time, while it builds too, leaves a project that deploys", async () => {
    const app = "timed";
    const folder = sandbox.project(adder("api", "v0"), app);
    proxy.ignore();
    const startedAt = performance.now();
    await deployed(folder);
    const wholeMs = performance.now() - startedAt;
    for (const share of [0.3, 0.45, 0.6, 0.75, 0.9]) {
      const marker = `v${share}`;
      writeFiles(folder, adder("api", marker));
      const killed = deploying(folder);
      const timer = setTimeout(() => killed.child.kill("SIGKILL"), wholeMs * share);
      await killed.finished;
      clearTimeout(timer);
      await deployedAs(folder, marker);
    }
    const { releases } = await read<ReleasesDocument>("releases", app);
    assert.equal(releases.length, 6);
  });

  test("twice without a change makes no release and replaces no worker", async () => {
    const folder = sandbox.project(adder("api", "same", "[1, 1]"), "twice");
    proxy.ignore();
    const first = await deployed(folder);
    const { pid } = (await first.call("api", "GET /who")).json as { pid: number };
    const second = await deployed(folder);
    assert.equal(second.document.release, first.document.release);
    assert.equal(((await second.call("api", "GET /who")).json as { pid: number }).pid, pid);
    assert.equal(proxy.seen.filter((one) => one.startsWith("PUT ")).length, 1, "one upload");
  });

  test("twice at the same time has one winner, and nothing of the other", async () => {
    const app = "rivals";
    const two = (marker: string) => ({
      ...adder("api", marker),
      "other.ts": adder("other", marker)["api.ts"] ?? "",
    });
    const folders = ["left", "right"].map((marker) => sandbox.project(two(marker), app));
    proxy.ignore();
    const both = await Promise.all(folders.map(deployed));
    const { releases } = await read<ReleasesDocument>("releases", app);
    assert.equal(releases.length, 2);
    const status = await read<StatusDocument>("status", app);
    const winner = both.findIndex(({ document }) => document.release === status.release);
    assert.ok(winner >= 0);
    const marker = ["left", "right"][winner];
    const deployment = both[winner] ?? assert.fail();
    await until(
      async () => {
        const seen = await Promise.all(
          ["api", "other"].map(async (name) => (await deployment.call(name, "GET /who")).json),
        );
        return seen.every((one) => (one as { marker: string }).marker === marker);
      },
      { what: "both endpoints to be the winner's" },
    );
  });
});
