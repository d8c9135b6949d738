/** What a person reads while a project runs. */

import assert from "node:assert/strict";
import { test } from "node:test";
import pc from "picocolors";
import type { EndpointManifest, FunctionManifest, Manifest } from "../../src/contract/manifest.ts";
import { resolveOptions } from "../../src/contract/options.ts";
import type { Route } from "../../src/contract/routes.ts";
import { describeEvent } from "../../src/dev/talk.ts";

const PLAIN = pc.createColors(false);

function callable(name: string, route?: Route, summary?: string): FunctionManifest {
  return {
    name,
    parameters: [],
    streams: false,
    checked: true,
    ...(route === undefined ? {} : { route }),
    ...(summary === undefined ? {} : { summary }),
  };
}

function manifestOf(endpoints: Partial<EndpointManifest>[]): Manifest {
  return {
    version: 1,
    app: "demo",
    builtWith: "0",
    fingerprint: "",
    endpoints: endpoints.map((endpoint) => {
      const { name = "", kind = "lb" } = endpoint;
      return {
        name,
        kind,
        form: kind === "lb" ? "routes" : "function",
        live: false,
        resource: "Endpoint",
        options: resolveOptions({ name }, kind, name),
        functions: [],
        files: [],
        calls: [],
        fingerprint: "",
        packages: {},
        ...endpoint,
      };
    }),
  };
}

test("the start table lists method, path, function, kind and description, aligned", () => {
  const manifest = manifestOf([
    { name: "work", kind: "qb", functions: [callable("analyze", undefined, "Scores a text.")] },
    {
      name: "api",
      live: true,
      functions: [
        callable("listUsers", { method: "GET", path: "/users" }, "List all users."),
        callable("remove", { method: "DELETE", path: "/users/{id}" }),
      ],
    },
  ]);
  const text = describeEvent({ kind: "ready", url: "http://localhost:8888", manifest }, PLAIN);
  assert.deepEqual(text.split("\n"), [
    "",
    "flash dev  http://localhost:8888",
    "",
    "  POST    /work/runsync    analyze    QB          Scores a text.",
    "  GET     /api/users       listUsers  LB (local)  List all users.",
    "  DELETE  /api/users/{id}  remove     LB (local)",
    "",
    "  docs  http://localhost:8888/docs",
    "  stop  ctrl+c",
    "",
  ]);
});

test("a failed build says whether something still answers", () => {
  const failed = (keepsServing: boolean): string =>
    describeEvent({ kind: "failed", text: "error: no", keepsServing }, PLAIN);
  assert.match(failed(true), /^error: no\n\n✗ still serving the last good build/);
  assert.match(failed(false), /nothing is served/);
});

test("a worker's line carries its endpoint's name", () => {
  const event = { kind: "output", endpoint: "api", stream: "stdout", text: "hello" } as const;
  assert.equal(describeEvent(event, PLAIN), "api | hello");
});

test("a reload names the files and how long it took", () => {
  const event = {
    kind: "reloaded",
    manifest: manifestOf([]),
    changed: ["a.ts", "b.ts"],
    tookMs: 41.7,
  } as const;
  assert.equal(describeEvent(event, PLAIN), "✓ reloaded a.ts, b.ts  42 ms");
});

test("a taken port is told with the one that is used", () => {
  const event = { kind: "port-taken", wanted: 8888, used: 8890 } as const;
  assert.equal(describeEvent(event, PLAIN), "port 8888 in use, using 8890");
});

test("type errors come with their frames and say that they stop nothing", () => {
  const one = {
    severity: "error",
    message: "no",
    file: "a.ts",
    line: 1,
    column: 1,
    frame: "> 1 | x",
  } as const;
  assert.equal(
    describeEvent({ kind: "types", fresh: [one], left: 2 }, PLAIN),
    "error: no\n  a.ts:1:1\n  > 1 | x\n\n! 2 type errors; what is served runs all the same",
  );
  assert.equal(
    describeEvent({ kind: "types", fresh: [], left: 1 }, PLAIN),
    "! 1 type error; what is served runs all the same",
  );
  assert.equal(
    describeEvent({ kind: "types", fresh: [], left: 0 }, PLAIN),
    "✓ no type errors left",
  );
});

test("of very many type errors ten are shown", () => {
  const fresh = Array.from({ length: 12 }, (_, line) => {
    return { severity: "error", message: `no ${line}`, file: "a.ts", line, column: 1 } as const;
  });
  const text = describeEvent({ kind: "types", fresh, left: 12 }, PLAIN);
  assert.equal(text.match(/^error: /gm)?.length, 10);
  assert.match(text, /^and 2 more: npx tsc --noEmit\n\n! 12 type errors/m);
});
