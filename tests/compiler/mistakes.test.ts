/** Projects with mistakes, each in one text, and what the build says about them. */

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatDiagnostics, type Diagnostic } from "../../src/compiler/compiler.ts";
import { mistakesIn, mistakesOf, tempFolder, writeProject } from "./support.ts";

/** `file:line message`, a `~` before a warning; messages may be cut with a final `…`. */
interface Case {
  project: string;
  says: string[];
}

const CASES: Record<string, Case> = {
  "a route without method and path": {
    project: `
-- api.ts --
import { LoadBalancerSlsResource, remote } from "runpod-flash";
const api = new LoadBalancerSlsResource({ name: "api" });
export const f = remote(api, {} as never, async (x: number) => x);
`,
    says: ["api.ts:3 LoadBalancerSlsResource requires both 'method' and 'path' parameters…"],
  },
  "a misspelled method": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const ok = api.get("/ok", () => 1);
export const f = api.route("PTACH", "/x", () => 1);
`,
    says: ["api.ts:4 Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH"],
  },
  "a relative path, a reserved one, and a malformed one": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const ok = api.get("/ok", () => 1);
export const a = api.post("api/endpoint", () => 1);
export const b = api.get("/ping/", () => 1);
export const c = api.post("/Execute", () => 1);
export const d = api.get("/a{b}", () => 1);
`,
    says: [
      "api.ts:4 path must start with '/', got: api/endpoint",
      "api.ts:5 path '/ping/' is reserved by the framework. reserved paths: /execute, /ping",
      "api.ts:6 path '/Execute' is reserved by the framework. reserved paths: /execute, /ping",
      "api.ts:7 path '/a{b}' has a malformed parameter…",
    ],
  },
  "a route defined twice": {
    project: `
-- api.ts --
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "api" });
export const a = remote(api, { method: "POST", path: "/api/process" }, async (x: number) => x);
export const b = remote(api, { method: "post", path: "/api/process" }, async (x: number) => x);
`,
    says: ["api.ts:4 Route conflict detected: POST /api/process defined twice…"],
  },
  "routes that differ in the parameter's name only": {
    project: `
-- api.ts --
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "api" });
export const a = remote(api, { method: "GET", path: "/users/{id}" }, (id: string) => id);
export const b = remote(api, { method: "GET", path: "/users/{uid}/" }, (uid: string) => uid);
`,
    says: ["api.ts:4 Route conflict detected: GET /users/{uid}/ defined twice…"],
  },
  "one name in two files": {
    project: `
-- a.ts --
import { Endpoint } from "runpod-flash";
export const one = Endpoint({ name: "same" }, async (x: string) => x);
-- b.ts --
import { Endpoint } from "runpod-flash";
export const two = Endpoint({ name: "same" }, async (x: string) => x);
`,
    says: [
      "b.ts:2 endpoint 'same' is defined in multiple files: a.ts, b.ts. each endpoint name must be unique across the project.",
    ],
  },
  "one name twice in a file": {
    project: `
-- gpu_worker.ts --
import { Endpoint } from "runpod-flash";
export const preprocess = Endpoint({ name: "same" }, async (x: string) => x);
export const inference = Endpoint({ name: "same" }, async (x: string) => x);
`,
    says: ["gpu_worker.ts:3 endpoint 'same' is defined more than once in gpu_worker.ts…"],
  },
  "a queue function and routes under one name": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const job = Endpoint({ name: "same" }, async (x: string) => x);
const api = Endpoint({ name: "same" });
export const route = api.get("/x", () => 1);
`,
    says: [
      "api.ts:3 endpoint 'same' is declared both as a queue-based and as a load-balanced endpoint (api.ts:2 and api.ts:3)…",
    ],
  },
  "names that only differ in case": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "Worker" }, async (x: string) => x);
export const b = Endpoint({ name: "worker" }, async (x: string) => x);
`,
    says: ["api.ts:3 endpoint 'worker' differs from 'Worker' only in the case of letters…"],
  },
  "an endpoint without function and routes": {
    project: `
-- api.ts --
import { Endpoint, LiveServerless } from "runpod-flash";
export const api = Endpoint({ name: "api" });
export const queue = new LiveServerless({ name: "queue" });
`,
    says: [
      "api.ts:2 Load-balanced endpoints require route decorators: 'api' has neither a route nor a function.",
      "api.ts:3 Resource 'queue' has no functions. Cannot generate a deployed handler without at least one function.",
    ],
  },
  "classes without public methods": {
    project: `
-- model.ts --
import { Endpoint } from "runpod-flash";
export const A = Endpoint({ name: "a" }, class { _hidden() {} init() {} });
export const B = Endpoint({ name: "b" }, class { private secret() {} });
`,
    says: [
      "model.ts:2 Resource 'a' has no functions: the class has no public methods.",
      "model.ts:3 Resource 'B' has no functions: all methods of the class are private.",
    ],
  },
  "constructors that need arguments": {
    project: `
-- model.ts --
import { Endpoint } from "runpod-flash";
export const A = Endpoint({ name: "a" }, class { constructor(public size: number, path?: string, depth = 1) {} run() {} });
export const B = Endpoint({ name: "b" }, class { constructor(path?: string) {} run() {} });
@Endpoint({ name: "c" })
export class C { constructor(kind: string) {} run() {} }
`,
    says: [
      "model.ts:2 the constructor of 'A' needs 'size', but a worker creates the instance without arguments",
      "model.ts:5 the constructor of 'C' needs 'kind', but a worker creates the instance without arguments",
    ],
  },
  "an export that is no name for an endpoint": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const $work = Endpoint({}, async (x: string) => x);
`,
    says: ["api.ts:2 name may hold letters, digits…"],
  },
  "an endpoint that nothing names": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export default Endpoint({}, async (x: string) => x);
`,
    says: ["api.ts:2 The endpoint has no name…"],
  },
  "wrong options, all of them": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a", gpu: "any", cpu: "cpu5c-4-8" } as never, async (x: string) => x);
export const b = Endpoint({ name: "b", worker: 3, workers: [3, 1] } as never, async (x: string) => x);
`,
    says: [
      "api.ts:2 gpu and cpu are mutually exclusive. specify one or neither.",
      "api.ts:3 Endpoint() got unknown option: 'worker' (Did you mean 'workers'?)",
      "api.ts:3 workers min (3) cannot exceed max (1)",
    ],
  },
  "path parameters and the function's parameters": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const a = api.get("/users/{user_id}", (id: number) => id);
export const b = api.get("/teams/{team}", (team: { id: number }) => team);
export const c = api.get("/files/{name}", () => 1);
`,
    says: [
      "api.ts:3 path parameter '{user_id}' of GET /users/{user_id} is no parameter of 'a'",
      "api.ts:4 path parameter '{team}' of GET /teams/{team} must be a string, number or boolean",
      "api.ts:5 path parameter '{name}' of GET /files/{name} is no parameter of 'c'",
    ],
  },
  "files on GET": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const a = api.get("/x", (image: Uint8Array) => image.length);
export const b = api.post("/x", (image: File, label: string) => image.size);
`,
    says: ["api.ts:3 parameter 'image' of 'a' takes a file, which a GET request cannot carry"],
  },
  "types that JSON cannot carry, each at its parameter": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
interface Options { onDone: () => void; deep: { cache: Map<string, number> } }
export const a = Endpoint({ name: "a" }, async (
  options: Options,
  callback: (x: number) => void,
  index: Map<string, number>,
  request: Request,
  sign: symbol,
) => 1);
`,
    says: [
      "api.ts:4 parameter of 'a': options.onDone is a function, which JSON cannot carry",
      "api.ts:4 parameter of 'a': options.deep.cache is a Map, which JSON cannot carry",
      "api.ts:5 parameter of 'a': callback is a function, which JSON cannot carry",
      "api.ts:6 parameter of 'a': index is a Map, which JSON cannot carry",
      "api.ts:7 parameter of 'a': request is a Request, which JSON cannot carry",
      "api.ts:8 parameter of 'a': sign is a symbol, which JSON cannot carry",
    ],
  },
  "a type that is built from itself without end": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
interface Endless<T> { value: T; next: Endless<T[]> }
export const a = Endpoint({ name: "a" }, async (chain: Endless<string>) => 1);
`,
    says: ["api.ts:3 parameter of 'a': chain has a type that is too large to be described"],
  },
  "an object with many methods is one mistake": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (day: Readonly<Date>) => 1);
`,
    says: ["api.ts:2 parameter of 'a': day is an object with methods, which JSON cannot carry"],
  },
  "constraint tags that make no sense": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
interface Form {
  /** @minimum many */
  a: number;
  /** @pattern [ */
  b: string;
  /** @minimum 0 */
  c: bigint;
  /** @maxLength 5 */
  d: string[];
  /** @format date */
  e: Date;
  /** @minLength -1 */
  f: string;
  /** @multipleOf 0 */
  g: number;
}
export const a = Endpoint({ name: "a" }, async (form: Form) => 1);
`,
    says: [
      "api.ts:18 parameter of 'a': form.a: @minimum needs a number, got 'many'",
      "api.ts:18 parameter of 'a': form.b: @pattern is no regular expression: '['",
      "api.ts:18 parameter of 'a': form.c: @minimum is for numbers, and no value of this type is one",
      "api.ts:18 parameter of 'a': form.d: @maxLength is for strings, and no value of this type is one",
      "api.ts:18 parameter of 'a': form.e: @format is for strings, and no value of this type is one",
      "api.ts:18 parameter of 'a': form.f: @minLength needs a whole number from 0, got '-1'",
      "api.ts:18 parameter of 'a': form.g: @multipleOf needs a number above 0, got '0'",
    ],
  },
  "a function that is not in the source": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
const made: any = new Function("x", "return x");
export const a = Endpoint({ name: "a" }, made);
`,
    says: ["api.ts:3 The function 'a' was not found in the source, so its parameters are unknown."],
  },
  "a syntax error does not hide the mistakes of other files": {
    project: `
-- broken.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => {;
-- uses.ts --
import { Endpoint } from "runpod-flash";
import { a } from "./broken.ts";
export const b = Endpoint({ name: "b", workers: -1 }, async (x: string) => a(x));
-- other.ts --
import { Endpoint } from "runpod-flash";
export const c = Endpoint({ name: "c", workers: -1 }, async (x: string) => x);
`,
    says: ["broken.ts:3 Unexpected end of file", "other.ts:2 workers cannot be negative: (0, -1)"],
  },
  "modules that are not there": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
import { load } from "./user_service";
export const a = Endpoint({ name: "a" }, async (x: string) => load(x));
-- other.ts --
import { Endpoint } from "runpod-flash";
import missing from "no-such-package-anywhere";
export const b = Endpoint({ name: "b" }, async (x: string) => missing(x));
`,
    says: [
      "api.ts:2 Cannot import module './user_service'",
      "other.ts:2 Failed to load: other.ts: Cannot import module 'no-such-package-anywhere'",
    ],
  },
  "a package that is only imported inside a function": {
    project: `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => (await import("no-such-package-anywhere")).default(x));
`,
    says: ["api.ts:2 Cannot import module 'no-such-package-anywhere'"],
  },
  "a module that throws, one that exits, one that works": {
    project: `
-- a.ts --
import { Endpoint } from "runpod-flash";
function check(): void {
  throw new RangeError("no model");
}
check();
export const a = Endpoint({ name: "a" }, async (x: string) => x);
-- b.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b" }, async (x: string) => x);
process.exit(3);
-- c.ts --
import { Endpoint } from "runpod-flash";
export const c = Endpoint({ name: "c", workers: -1 }, async (x: string) => x);
`,
    says: [
      "a.ts:3 Failed to load: a.ts: RangeError: no model",
      "b.ts:3 Failed to load: b.ts: Error: process.exit(3) was called while the module was loaded",
      "c.ts:2 workers cannot be negative: (0, -1)",
    ],
  },
  "a module that kills its process": {
    project: `
-- a.ts --
import { Endpoint } from "runpod-flash";
process.kill(process.pid, "SIGKILL");
export const a = Endpoint({ name: "a" }, async (x: string) => x);
-- b.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b", workers: -1 }, async (x: string) => x);
`,
    says: [
      "a.ts:1 Failed to load: a.ts: Error: the process ended (SIGKILL)",
      "b.ts:2 workers cannot be negative: (0, -1)",
    ],
  },
  "no endpoint at all": {
    project: `
-- main.ts --
console.log("hello");
`,
    says: ["No endpoints found."],
  },
  "imports of files that the ignore rules exclude": {
    project: `
-- .gitignore --
secret/
-- sub/.gitignore --
*.local.ts
-- secret/key.ts --
export const key = "k";
-- sub/a.local.ts --
export const a = 1;
-- sub/index.ts --
export { a } from "./a.local.ts";
-- api.ts --
import { Endpoint } from "runpod-flash";
import { key } from "./secret/key.ts";
import { a } from "./sub/index.ts";
export const f = Endpoint({ name: "f" }, async (x: string) => x + key + a);
`,
    says: [
      [
        "Shipped code imports local modules that the build ignore rules (.gitignore or built-in defaults) exclude:",
        "  secret/key.ts (imported by api.ts)",
        "  sub/a.local.ts (imported by sub/index.ts)",
        "",
        "Shipping them would silently override a deliberate exclusion, and omitting them would break the worker with ModuleNotFoundError. Remove the matching ignore pattern or stop importing these modules from shipped code.",
      ].join("\n"),
    ],
  },
  "a native module in the bundle": {
    project: `
-- node_modules/fastthing/package.json --
{ "name": "fastthing", "version": "1.0.0", "main": "index.js" }
-- node_modules/fastthing/index.js --
module.exports = () => require("./build/fast.node");
-- node_modules/fastthing/build/fast.node --
binary
-- api.ts --
import { Endpoint } from "runpod-flash";
import fast from "fastthing";
export const a = Endpoint({ name: "a" }, async (x: string) => fast(x));
`,
    says: [
      "native module './build/fast.node' of 'fastthing' cannot be bundled (imported by node_modules/fastthing/index.js)",
    ],
  },
};

describe("mistakes", () => {
  for (const [title, { project, says }] of Object.entries(CASES)) {
    test(title, async () => {
      const said = (await mistakesOf(project)).map(lineOf);
      assert.deepEqual(
        said.map((line, index) => cutLike(line, says[index])),
        says,
        said.join("\n"),
      );
    });
  }

  test("a folder without sources is no project", async () => {
    const folder = tempFolder();
    mkdirSync(join(folder, "docs"));
    const [mistake] = await mistakesIn(folder);
    assert.match(mistake?.message ?? "", /^Not a valid Flash project/);
    assert.match(mistake?.hint ?? "", /flash init/);
  });

  test("the message of the error holds every mistake with place, frame and hint", async () => {
    const folder = writeProject(CASES["a misspelled method"]?.project ?? "");
    const diagnostics = await mistakesIn(folder);
    assert.equal(
      formatDiagnostics(diagnostics),
      [
        "error: Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH",
        "  api.ts:4:22",
        '    2 | const api = Endpoint({ name: "api" });',
        '    3 | export const ok = api.get("/ok", () => 1);',
        '  > 4 | export const f = api.route("PTACH", "/x", () => 1);',
        "      |                      ^",
        "    5 |",
      ].join("\n"),
    );
    assert.ok(formatDiagnostics(diagnostics, { color: true }).includes("\u001B[31m"));
  });

  test("options from flash.toml are checked, and say where they come from", async () => {
    const [mistake] = await mistakesOf(
      `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a", workers: [0, 2] }, async (x: string) => x);
`,
      { overrides: (name) => (name === "a" ? { workers: [5, 1] } : undefined) },
    );
    assert.equal(mistake?.message, "workers min (5) cannot exceed max (1)");
    assert.match(mistake.hint ?? "", /\[endpoints\.a\] in flash\.toml/);
  });
});

function lineOf({ severity, file, line, message }: Diagnostic): string {
  const place = file === undefined ? "" : `${file}:${line} `;
  return `${severity === "warning" ? "~" : ""}${place}${message}`;
}

/** Cuts a line where the expected one is cut. */
function cutLike(line: string, wanted: string | undefined): string {
  const start = wanted?.endsWith("…") === true ? wanted.slice(0, -1) : undefined;
  return start !== undefined && line.startsWith(start) ? `${start}…` : line;
}
