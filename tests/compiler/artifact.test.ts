/** What is built: bundles that run, packages, equal bytes, fingerprints, and builds after a change. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { createGunzip } from "node:zlib";
import { unpackTar } from "modern-tar/fs";
import { Project, type BuildResult } from "../../src/compiler/compiler.ts";
import { packArtifact } from "../../src/compiler/pack.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { readManifest } from "../../src/contract/manifest.ts";
import {
  build,
  buildFolder,
  endpointOf,
  mistakesOf,
  onlyFunction,
  tempFolder,
  testPackage,
  writeIn,
  writeProject,
} from "./support.ts";

async function unpack({ artifactFile }: BuildResult): Promise<string> {
  const folder = tempFolder();
  await pipeline(createReadStream(artifactFile), createGunzip(), unpackTar(folder));
  return folder;
}

/** Paths below a folder, sorted. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

/** Evaluates an endpoint's bundle as a worker does, and calls its function. */
function callBundle(folder: string, name: string, args: unknown[]): unknown {
  const url = pathToFileURL(join(folder, "endpoints", name, "index.mjs")).href;
  const program = `
    globalThis[Symbol.for("runpod-flash.registry")] = { mode: "serve", declarations: [], mistakes: [], endpoint: ${JSON.stringify(name)} };
    const exports = await import(${JSON.stringify(url)});
    const { declarations } = globalThis[Symbol.for("runpod-flash.registry")];
    const found = declarations.find((one) => one.name === ${JSON.stringify(name)})
      ?? exports[${JSON.stringify(name)}]?.[Symbol.for("runpod-flash.declaration")].endpoint;
    console.log(JSON.stringify(await found.target.handler(...${JSON.stringify(args)})));
  `;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
  });
  return JSON.parse(out);
}

describe("artifact", () => {
  const PROJECT = `
-- .env --
SECRET=1
-- server.key --
private
-- data.json --
{ "factor": 3 }
-- prompt.txt --
Say hello
-- lib/math.ts --
import data from "../data.json" with { type: "json" };
export const times = (x: number): number => x * data.factor;
-- node_modules/old/package.json --
{ "name": "old", "version": "1.2.3", "main": "./main.js" }
-- node_modules/old/main.js --
const path = require("path");
const here = __dirname;
exports.base = (file) => path.basename(file) + (typeof here === "string" ? "!" : "");
-- api.ts --
import { Endpoint } from "runpod-flash";
import old from "old";
import prompt from "./prompt.txt";
import { times } from "./lib/math.ts";
const __dirname = "mine";
export const triple = Endpoint({}, async (x: number) => ({ x: times(x), base: old.base("a/b.c"), prompt, __dirname }));
`;

  test("holds manifest, worker and bundles, and nothing else", async () => {
    const result = await build(PROJECT);
    const folder = await unpack(result);
    assert.deepEqual(filesBelow(folder), [
      "endpoints/triple/index.mjs",
      "endpoints/triple/index.mjs.map",
      "flash_manifest.json",
      "sdk.mjs",
      "worker.mjs",
    ]);
    const text = readFileSync(join(folder, "flash_manifest.json"), "utf8");
    assert.deepEqual(readManifest(text, "artifact"), result.manifest);
    assert.equal(readFileSync(result.manifestFile, "utf8"), text);
    assert.equal(result.files, 2);
    assert.equal(result.artifact.file, result.artifactFile);
  });

  test("bundles run without the project: JSON, text, CommonJS, own constants", async () => {
    const result = await build(PROJECT);
    const folder = await unpack(result);
    assert.deepEqual(callBundle(folder, "triple", [5]), {
      x: 15,
      base: "b.c!",
      prompt: "Say hello\n",
      __dirname: "mine",
    });
  });

  test("bundles carry source maps with project paths and sources", async () => {
    const folder = await unpack(await build(PROJECT));
    const file = join(folder, "endpoints/triple/index.mjs");
    assert.match(readFileSync(file, "utf8"), /\/\/# sourceMappingURL=index\.mjs\.map\n$/);
    const map = JSON.parse(readFileSync(`${file}.map`, "utf8")) as {
      sources: string[];
      sourcesContent: string[];
    };
    const at = map.sources.indexOf("lib/math.ts");
    assert.notEqual(at, -1, map.sources.join(", "));
    assert.match(map.sourcesContent[at] ?? "", /data\.factor/);
  });

  test("the same project in another folder gives the same bytes", async () => {
    const [one, two] = [await build(PROJECT), await build(PROJECT)];
    assert.equal(one.artifact.digest, two.artifact.digest);
    assert.deepEqual(readFileSync(one.artifactFile), readFileSync(two.artifactFile));
    const folder = await unpack(one);
    for (const file of filesBelow(folder)) {
      const text = readFileSync(join(folder, file), "utf8");
      assert.ok(!text.includes(tempFolder().slice(0, -4)), `${file} holds a path of this machine`);
    }
  });

  test("a project that says it has no side effects still declares", async () => {
    const result = await build(`
-- package.json --
{ "type": "module", "sideEffects": false }
-- api.ts --
import { Endpoint } from "runpod-flash";
export const one = Endpoint({ name: "one" }, async (x: number) => x + 1);
`);
    assert.equal(callBundle(await unpack(result), "one", [1]), 2);
  });

  test("is refused above the limit, naming the largest parts", async () => {
    const folder = tempFolder();
    const noise = Buffer.from(Array.from({ length: 4000 }, (_, index) => (index * 7919) % 251));
    const entries = [
      { path: "endpoints/a/node_modules/@big/one/a.js", content: noise },
      { path: "endpoints/a/node_modules/@big/one/b.js", content: noise },
      { path: "flash_manifest.json", content: noise.subarray(0, 10) },
    ];
    const file = join(folder, "artifact.tar.gz");
    await assert.rejects(packArtifact(file, entries, { maxBytes: 100 }), (error) => {
      assert.ok(FlashError.is(error));
      assert.equal(error.code, "PAYLOAD_TOO_LARGE");
      assert.match(error.message, /^Archive exceeds RunPod limit/);
      const { largest } = error.details as { largest: { path: string; bytes: number }[] };
      assert.deepEqual(largest[0], { path: "endpoints/a/node_modules/@big/one", bytes: 8000 });
      return true;
    });
    assert.ok(!existsSync(file));
  });
});

describe("packages", () => {
  const PROJECT = `
-- vendor/tool/package.json --
{ "name": "tool", "version": "2.1.0", "main": "index.js", "bin": "index.js" }
-- vendor/tool/index.js --
module.exports = (x) => x * 2;
-- api.ts --
import { Endpoint } from "runpod-flash";
export const double = Endpoint(
  { name: "double", dependencies: ["tool@file:./vendor/tool"] },
  async (x: number) => (await import("tool")).default(x),
);
export const plain = Endpoint({ name: "plain" }, async (x: number) => x);
`;

  test("are installed beside the endpoint that lists them", async () => {
    const result = await build(PROJECT);
    assert.deepEqual(endpointOf(result, "double").packages, { tool: "2.1.0" });
    assert.deepEqual(endpointOf(result, "plain").packages, {});
    const folder = await unpack(result);
    assert.deepEqual(
      filesBelow(folder).filter((file) => file.includes("node_modules")),
      [
        "endpoints/double/node_modules/tool/index.js",
        "endpoints/double/node_modules/tool/package.json",
      ],
    );
    assert.equal(callBundle(folder, "double", [21]), 42);
  });

  test("are installed once: a second build takes them from its cache", async () => {
    const folder = writeProject(PROJECT);
    const first = await buildFolder(folder);
    const cache = join(folder, ".flash/packages");
    const [key] = readdirSync(cache);
    rmSync(join(folder, "vendor"), { recursive: true });
    const second = await buildFolder(folder);
    assert.deepEqual(readdirSync(cache), [key]);
    assert.equal(second.artifact.digest, first.artifact.digest);
  });

  test("of another endpoint come along only where its code needs them to load", async () => {
    const lazy = endpointOf(await build(PROJECT), "plain");
    assert.deepEqual(lazy.packages, {});
    const eager = await build(`
-- vendor/tool/package.json --
{ "name": "tool", "version": "2.1.0" }
-- vendor/tool/index.js --
module.exports = (x) => x * 2;
-- node_modules/tool/package.json --
{ "name": "tool", "version": "2.1.0" }
-- node_modules/tool/index.js --
module.exports = (x) => x * 2;
-- api.ts --
import { Endpoint } from "runpod-flash";
import tool from "tool";
export const double = Endpoint({ name: "double", dependencies: ["tool@file:./vendor/tool"] }, async (x: number) => tool(x));
export const plain = Endpoint({ name: "plain" }, async (x: number) => x);
`);
    assert.deepEqual(endpointOf(eager, "plain").packages, { tool: "2.1.0" });
    assert.equal(callBundle(await unpack(eager), "plain", [3]), 3);
  });

  test("that the image has are left out", async () => {
    const result = await build(PROJECT, { exclude: ["tool"] });
    assert.deepEqual(endpointOf(result, "double").packages, {});
  });

  test("of live endpoints are installed for where their workers are", async () => {
    const elsewhere = process.platform === "win32" ? "linux" : "win32";
    const project = `
-- vendor/part/package.json --
{ "name": "part", "version": "1.0.0", "os": ["${elsewhere}"] }
-- vendor/tool/package.json --
{ "name": "tool", "version": "2.1.0", "optionalDependencies": { "part": "file:../part" } }
-- api.ts --
import { Endpoint, LiveLoadBalancer, remote } from "runpod-flash";
const dependencies = ["tool@file:./vendor/tool"];
const resource = new LiveLoadBalancer({ name: "far", dependencies });
export const far = remote(resource, { method: "GET", path: "/x" }, () => 1);
export const near = Endpoint({ name: "near", dependencies }, async (x: number) => x);
`;
    const livePlatform = { os: elsewhere, cpu: process.arch, libc: null };
    const result = await build(project, { livePlatform });
    assert.deepEqual(endpointOf(result, "far").packages, { part: "1.0.0", tool: "2.1.0" });
    assert.deepEqual(endpointOf(result, "near").packages, { tool: "2.1.0" });
  });

  test("that npm cannot install fail the build with npm's words", async () => {
    const [mistake] = await mistakesOf(`
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a", dependencies: ["gone@file:./nowhere"] }, async (x: number) => x);
`);
    assert.match(
      mistake?.message ?? "",
      /^Failed to install dependencies \(gone@file:\.\/nowhere\):/,
    );
    assert.match(mistake?.message ?? "", /nowhere/);
  });
});

describe("rebuilds", () => {
  const PROJECT = `
-- model.ts --
export interface User { id: number }
-- a.ts --
import { Endpoint } from "runpod-flash";
import type { User } from "./model.ts";
export const a = Endpoint({ name: "a" }, async (user: User) => user.id);
-- b.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b" }, async (x: number) => x);
`;

  async function withProject(
    use: (project: Project, folder: string) => Promise<void>,
  ): Promise<void> {
    const folder = writeProject(PROJECT);
    const project = new Project({ root: folder, app: "demo" }, testPackage());
    try {
      await use(project, folder);
    } finally {
      await project.close();
    }
  }

  function prints(result: BuildResult): Record<string, string> {
    return Object.fromEntries(
      result.manifest.endpoints.map(({ name, fingerprint }) => [name, fingerprint]),
    );
  }

  test("change only the fingerprints of what an edit touches", async () => {
    await withProject(async (project, folder) => {
      const before = await project.build();
      writeIn(
        folder,
        "b.ts",
        readFileSync(join(folder, "b.ts"), "utf8").replace("=> x)", "=> x + 1)"),
      );
      const after = await project.rebuild(["b.ts"]);
      assert.equal(prints(after).a, prints(before).a);
      assert.notEqual(prints(after).b, prints(before).b);
      assert.notEqual(after.manifest.fingerprint, before.manifest.fingerprint);
      const fresh = await buildFolder(folder);
      assert.equal(fresh.artifact.digest, after.artifact.digest);
    });
  });

  test("see a changed type in another file", async () => {
    await withProject(async (project, folder) => {
      await project.build();
      writeIn(folder, "model.ts", "export interface User { id: number; name: string }\n");
      const after = await project.rebuild([join(folder, "model.ts")]);
      assert.deepEqual(onlyFunction(after, "a").parameters[0]?.schema.required, ["id", "name"]);
    });
  });

  test("see new, broken, mended and deleted files", async () => {
    await withProject(async (project, folder) => {
      await project.build();
      const text = `import { Endpoint } from "runpod-flash";\nexport const c = Endpoint({ name: "c" }, async (x: string) => x);\n`;
      writeIn(folder, "c.ts", text);
      assert.deepEqual(Object.keys(prints(await project.rebuild(["c.ts"]))), ["a", "b", "c"]);
      writeIn(folder, "c.ts", `${text}}`);
      await assert.rejects(project.rebuild(["c.ts"]), /c\.ts:3/);
      writeIn(folder, "c.ts", text.replace("string", "number"));
      const mended = await project.rebuild(["c.ts"]);
      assert.equal(onlyFunction(mended, "c").parameters[0]?.schema.type, "number");
      rmSync(join(folder, "c.ts"));
      assert.deepEqual(Object.keys(prints(await project.rebuild(["c.ts"]))), ["a", "b"]);
    });
  });

  test("see a package's types change with the lockfile", async () => {
    await withProject(async (project, folder) => {
      await project.build();
      mkdirSync(join(folder, "node_modules"), { recursive: true });
      writeIn(folder, "package-lock.json", "{}");
      const after = await project.rebuild(["package-lock.json"]);
      assert.deepEqual(Object.keys(prints(after)), ["a", "b"]);
    });
  });

  test("of one project at the same time do not disturb each other", async () => {
    await withProject(async (project, folder) => {
      const results = await Promise.all([
        project.build(),
        buildFolder(folder),
        buildFolder(folder),
      ]);
      assert.equal(new Set(results.map(({ artifact }) => artifact.digest)).size, 1);
    });
  });

  test("wait for each other, and close() is repeatable", async () => {
    await withProject(async (project) => {
      const [one, two] = await Promise.all([project.build(), project.rebuild(["a.ts"])]);
      assert.equal(one.artifact.digest, two.artifact.digest);
      await project.close();
      await project.close();
      const { artifactFile } = one;
      assert.deepEqual(readdirSync(dirname(artifactFile)).sort(), [
        ".gitignore",
        "artifact.tar.gz",
        "flash_manifest.json",
      ]);
    });
  });
});

describe("what else goes into the manifest", () => {
  test("flash.toml's overrides win over the code", async () => {
    const result = await build(
      `
-- api.ts --
import { Endpoint, GpuType } from "runpod-flash";
export const a = Endpoint({ name: "a", gpu: GpuType.NVIDIA_L4, workers: [0, 2], env: { A: "1", B: "2" } }, async (x: string) => x);
`,
      { overrides: () => ({ cpu: "cpu5c-4-8", workers: [1, 5], env: { B: "3" } }) },
    );
    const { options } = endpointOf(result, "a");
    assert.deepEqual([options.gpu, options.cpu], [null, ["cpu5c-4-8"]]);
    assert.deepEqual([options.workersMin, options.workersMax], [1, 5]);
    assert.deepEqual(options.env, { A: "1", B: "3" });
  });

  test("a Standard Schema wins over the types, described or not", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
const schema = (jsonSchema?: object) => ({
  "~standard": { version: 1 as const, vendor: "test", validate: (value: unknown) => ({ value }), ...(jsonSchema ? { jsonSchema } : {}) },
});
const described = { input: () => ({ $schema: "x", type: "object", properties: { n: { type: "integer" } } }), output: () => ({ type: "string" }) };
export const a = Endpoint({ name: "a", input: schema(described), output: schema(described) }, async (value: { n: number }) => value.n);
export const b = Endpoint({ name: "b", input: schema() }, async (value: { n: number }) => value.n);
`);
    const a = onlyFunction(result, "a");
    assert.deepEqual(a.parameters[0]?.schema, {
      type: "object",
      properties: { n: { type: "integer" } },
    });
    assert.deepEqual(a.returns, { type: "string" });
    assert.deepEqual(onlyFunction(result, "b").parameters[0]?.schema, { type: "object" });
  });

  test("files and the raw request are carried apart on routes", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const up = api.post("/up", async (image: Uint8Array, files: File[], note?: string) => image.length);
export const raw = api.post("/raw", async (request: Request) => new Response(await request.text()));
`);
    const [up, raw] = endpointOf(result, "api").functions;
    assert.deepEqual(
      up?.parameters.map(({ carrier, schema }) => [carrier, schema]),
      [
        ["bytes", { type: "string", format: "binary", "x-flash-type": "bytes" }],
        ["bytes", { type: "array", items: { type: "string", format: "binary" } }],
        ["value", { type: "string" }],
      ],
    );
    assert.deepEqual(
      raw?.parameters.map(({ carrier }) => carrier),
      ["request"],
    );
  });

  test("a class with methods is warned about when it is taken as an input", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
class User { name = ""; greet() { return this.name; } }
export const a = Endpoint({ name: "a" }, async (user: User) => user.name);
`);
    const [warning] = result.warnings;
    assert.match(warning?.message ?? "", /'User' is a class with methods/);
    assert.equal(warning?.line, 3);
  });

  test("summaries, descriptions and parameters come from doc comments", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
/**
 * Analyzes a text. Slowly.
 *
 * More about it.
 * @param text what to read
 * @param depth how far to go
 */
export const analyze = Endpoint({ name: "analyze" }, async (text: string, depth = 2) => text.length + depth);
`);
    const one = onlyFunction(result, "analyze");
    assert.equal(one.summary, "Analyzes a text.");
    assert.equal(one.description, "Analyzes a text. Slowly.\n\nMore about it.");
    assert.deepEqual(
      one.parameters.map(({ description }) => description),
      ["what to read", "how far to go"],
    );
  });

  test("the guide's user service has its six routes and no /execute", async () => {
    const root = join(import.meta.dirname, "../../examples/user-service");
    const result = await buildFolder(root, { outDir: tempFolder() });
    const [service] = result.manifest.endpoints;
    assert.deepEqual(
      service?.functions.map(({ route }) => `${route?.method} ${route?.path}`),
      [
        "GET /health",
        "GET /users",
        "POST /users",
        "GET /users/{user_id}",
        "PUT /users/{user_id}",
        "DELETE /users/{user_id}",
      ],
    );
    const folder = await unpack(result);
    const code = readFileSync(join(folder, service?.bundle ?? ""), "utf8");
    assert.doesNotMatch(code, /\beval\(/);
  });
});
