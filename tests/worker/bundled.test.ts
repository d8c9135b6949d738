/** The worker as it travels in an artifact: one file that needs Node and nothing else. */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { build } from "esbuild";
import { ROOT, temporaryFolder, writeFiles, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { PRELUDE, parameter, routeOf, signature, writeArtifact } from "./artifact.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

/** The runtime, bundled as the build does it. */
async function bundleRuntime(t: Owner): Promise<string> {
  const outfile = path.join(temporaryFolder(t, "flash-runtime"), "worker.mjs");
  await build({
    entryPoints: [path.join(ROOT, "src", "worker", "main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node22",
    logLevel: "silent",
  });
  return outfile;
}

/** Bundles TypeScript sources, with a map beside the bundle, into an artifact. */
async function bundleCode(
  t: Owner,
  artifact: string,
  sources: Record<string, string>,
): Promise<void> {
  const project = temporaryFolder(t, "flash-project");
  writeFiles(project, sources);
  await build({
    entryPoints: [path.join(project, "src", "api.ts")],
    outfile: path.join(artifact, "endpoints", "demo", "index.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    sourcemap: "linked",
    allowOverwrite: true,
    logLevel: "silent",
  });
}

describe("the bundled runtime", () => {
  test("stacks name the original file and line, causes included, and nothing of the runtime", async (t) => {
    const runtime = await bundleRuntime(t);
    const artifact = writeArtifact(t, { kind: "lb", functions: [routeOf("GET /deep")], code: "" });
    await bundleCode(t, artifact, {
      "src/api.ts": `${PRELUDE}
import { load } from "./model.ts";
interface Unused { so: "that lines move" }
route("GET", "/deep", async () => { await load("x"); });
`,
      "src/model.ts": `// a comment that the bundle drops
type Name = string;

export async function load(name: Name): Promise<void> {
  try {
    JSON.parse(name);
  } catch (cause) {
    throw new Error("no model", { cause });
  }
}
`,
    });
    const worker = await WorkerProcess.startReady(t, artifact, {
      env: { FLASH_DEBUG: "1" },
      program: runtime,
    });
    const { json } = await worker.fetch("/deep");
    assert.match(json.error.stack, /at (async )?load \([^)]*src\/model\.ts:8:11\)/);
    assert.match(json.error.stack, /src\/api\.ts:\d+:\d+/);
    assert.match(json.error.cause.stack, /src\/model\.ts:6:10/);
    assert.doesNotMatch(json.error.stack, /worker\.mjs|node:/);
  });

  test("code that cannot be loaded shows its original lines", async (t) => {
    const runtime = await bundleRuntime(t);
    const artifact = writeArtifact(t, { kind: "lb", functions: [routeOf("GET /a")], code: "" });
    await bundleCode(t, artifact, {
      "src/api.ts": `type A = 1;\nconst key: string | undefined = process.env.NOT_SET;\nconsole.log(key!.length as A);\n`,
    });
    const worker = WorkerProcess.start(t, artifact, { program: runtime });
    assert.equal((await worker.exited).code, 1);
    const [line] = worker.lines("stderr");
    assert.match(line?.frame, /> 3 \| console\.log\(key!\.length as A\);/);
    assert.match(line?.error.stack, /src\/api\.ts:3:\d+/);
  });

  test("a queue worker runs jobs, and its heartbeat is the same file", async (t) => {
    const runtime = await bundleRuntime(t);
    const server = await ProtocolServer.start(t);
    const artifact = writeArtifact(t, {
      kind: "qb",
      functions: [signature("demo", [parameter("n", { type: "number" })])],
      code: `queue((n) => n * 2);`,
    });
    await WorkerProcess.startReady(t, artifact, { env: server.env, program: runtime });
    server.give({ id: "j1", input: { n: 21 } });
    assert.deepEqual((await server.done("j1")).body, { output: 42 });
    await until(() => server.pings.length > 0, { what: "a ping" });
  });
});
