/** The route table: what is in it is served, what is served is in it, and its document is true. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { FlashServerCloud } from "../../src/clouds/clouds.ts";
import { apiRoutes, JOB_ROUTES } from "../../src/contract/api-routes.ts";
import { CONTROL_ROUTES, type ControlRoute } from "../../src/contract/control-routes.ts";
import { DOCUMENTS, type DocumentName } from "../../src/contract/control-schemas.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import type { Owner } from "../support/temp.ts";
import { artifactOf, manifestOf, TestServer } from "./server-support.ts";

const ajv = new Ajv2020({ strict: true, strictTypes: false });
addFormats.default(ajv);

/** Holds a document against its schema, which allows no member it does not name. */
function fits(name: DocumentName, value: unknown): void {
  const validate = ajv.compile(DOCUMENTS[name]);
  assert.ok(validate(value), `${name}: ${ajv.errorsText(validate.errors)}`);
}

describe("the table", () => {
  test("no two routes share a method and a path", () => {
    const seen = new Set<string>();
    for (const [name, { methods, path }] of apiRoutes()) {
      for (const method of methods) {
        assert.ok(!seen.has(`${method} ${path}`), name);
        seen.add(`${method} ${path}`);
      }
    }
  });

  test("what a JSON body or a parameter names is what the route touches", () => {
    const levels = ["server", "app", "environment", "endpoint"];
    for (const [name, route] of Object.entries<ControlRoute>(CONTROL_ROUTES)) {
      const { query = [], body } = route;
      const named = query.flatMap((one) => (one.required && one.names ? [one.names] : []));
      const document: JsonSchema | undefined =
        body?.kind === "json" ? DOCUMENTS[body.document] : undefined;
      const members = document?.required ?? [];
      const deepest = levels.findLastIndex(
        (level) => named.some((one) => one === level) || members.includes(level),
      );
      assert.equal(levels[Math.max(0, deepest)], route.touches, name);
    }
  });

  test("the job API has the operations of the table, and no others", async (t) => {
    const server = await TestServer.start(t);
    const [queue] = (await server.deploy("shop", [{ name: "queue", kind: "qb" }])).endpoints;
    const answer = await server.request(`/v2/${queue?.id}/nothing`, { method: "POST" });
    const listed = (answer.json.hint as string).replace("It has ", "").replace(".", "").split(", ");
    const names = Object.keys(JOB_ROUTES).map((name) => name.split(".")[0] ?? "");
    assert.deepEqual(new Set(listed), new Set(names));
  });
});

describe("/api/v1/openapi.json", () => {
  test("is valid OpenAPI 3.1, and describes every route of the control plane", async (t) => {
    const server = await TestServer.start(t);
    const answer = await server.request("/api/v1/openapi.json");
    assert.equal(answer.status, 200, answer.text);
    const result = await new Validator().validate(answer.json);
    assert.ok(result.valid, JSON.stringify(result.errors, null, 2));
    const described = Object.entries(answer.json.paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const routes = Object.values<ControlRoute>(CONTROL_ROUTES);
    assert.deepEqual(
      described.sort(),
      routes.map(({ methods, path }) => `${methods[0]} ${path}`).sort(),
    );
  });

  test("answers are what it says, member for member", async (t) => {
    const server = await TestServer.start(t);
    const endpoints = [
      { name: "api", kind: "lb" },
      { name: "queue", kind: "qb" },
      { name: "whisper", kind: "qb", form: "image" },
    ] as const;
    const ask = async (
      name: keyof typeof CONTROL_ROUTES,
      query: string,
      body?: string | Buffer,
    ) => {
      const route: ControlRoute = CONTROL_ROUTES[name];
      const { methods, path, answer } = route;
      const options = { method: methods[0], ...(body === undefined ? {} : { body }) };
      const got = await server.request(`${path}?${query}`, options);
      assert.ok(got.status < 300, `${name}: ${got.text}`);
      if (answer.kind === "json") fits(answer.document, got.json);
      return got.json;
    };
    const artifact = await artifactOf("shop", endpoints);
    const place = "app=shop&environment=dev";
    await ask("apps.create", "", '{"app":"shop"}');
    await ask("environments.create", "", '{"app":"shop","environment":"dev"}');
    const digest = createHash("sha256").update(artifact).digest("hex");
    const name = `app=shop&digest=${digest}`;
    await ask("uploads.append", `${name}&offset=0&bytes=${artifact.length}`, artifact);
    await ask("uploads.read", name);
    const build = await ask("uploads.complete", name);
    await ask("uploads.read", name);
    const manifest = manifestOf("shop", endpoints);
    const plan = { app: "shop", environment: "dev", digest: "0", manifest };
    await ask("plans.create", "", JSON.stringify(plan));
    const deploy = { app: "shop", environment: "dev", build: build.id };
    await ask("deployments.create", "", JSON.stringify(deploy));
    await ask("plans.create", "", JSON.stringify({ ...plan, manifest: manifestOf("shop", []) }));
    await ask("environments.list", "app=shop");
    await ask("environments.read", place);
    await ask("apps.list", "");
    await ask("apps.read", "app=shop");
    await ask("builds.list", "app=shop");
    await ask("builds.prune", "app=shop");
    await ask("releases.list", place);
    await ask("status.read", place);
    await ask("endpoints.describe", `${place}&name=api`);
    await ask("scaling.explain", `${place}&name=queue`);
    const { worker } = await ask("workers.add", `${place}&endpoint=whisper`);
    await ask("workers.remove", `${place}&endpoint=whisper&worker=${worker}`);
    await ask("server.read", "");
    await ask("secrets.set", `${place}&name=S`, JSON.stringify({ value: "value-of-s" }));
    await ask("secrets.list", place);
    await ask("secrets.rotate", "");
    await ask("secrets.remove", `${place}&name=S`);
    const { id } = await ask("keys.create", "", JSON.stringify({ name: "k", verbs: ["read"] }));
    await ask("keys.list", "");
    await ask("keys.revoke", `key=${id}`);
    await ask("audit.list", "");
    await ask("endpoints.remove", place);
    await ask("environments.remove", place);
    await ask("apps.remove", "app=shop");
  });
});

describe("the client", () => {
  test("asks only for what is in the table", async (t) => {
    const seen = await requestsOfCloud(t);
    const patterns = [...apiRoutes().values()].flatMap(({ methods, path }) =>
      methods.map((method) => new RegExp(`^${method} ${path.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`)),
    );
    assert.ok(seen.size >= 10, `only ${[...seen].join(", ")}`);
    for (const request of seen) {
      assert.ok(
        patterns.some((pattern) => pattern.test(request)),
        `'${request}' is in no table`,
      );
    }
  });
});

/** Calls every method of the cloud against a server that knows one endpoint, and notes what it asks. */
async function requestsOfCloud(owner: Owner): Promise<Set<string>> {
  const seen = new Set<string>();
  const server = createServer((request, response) => {
    seen.add(`${request.method} ${(request.url ?? "").split("?")[0]}`);
    request.resume();
    response.writeHead(200, { "content-type": "application/json" });
    const endpoints = [{ name: "queue", kind: "qb", id: "e1" }];
    response.end(JSON.stringify({ endpoints, environments: [], releases: [], digest: "f" }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  owner.after(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const cloud = new FlashServerCloud({ url: `http://127.0.0.1:${port}`, key: "k" });
  const target = { app: "shop", environment: "dev" };
  const anything = { endpoint: "queue", job: "j", move: "retry", states: [], limit: 1, tail: 1 };
  const artifact = { file: import.meta.filename, digest: "f", bytes: 1, manifest: {} };
  for (const name of Object.getOwnPropertyNames(FlashServerCloud.prototype)) {
    if (name === "constructor" || name === "target") continue;
    const method = Reflect.get(cloud, name) as (...values: unknown[]) => unknown;
    const first = name === "deploy" ? [artifact, target] : [target, anything];
    const result = method.apply(cloud, name === "undeploy" ? [target, "queue"] : first);
    // A mistake in the answer is none in the question.
    await (isStream(result) ? drain(result) : Promise.resolve(result)).catch(() => undefined);
  }
  return seen;
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
