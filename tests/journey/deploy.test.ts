/** From source to answers: the seeds' programs and the examples, deployed on a real server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sandbox } from "../support/flash.ts";
import { ROOT } from "../support/temp.ts";
import { adder, SEEDS } from "./projects.ts";

test("the guide's programs answer over HTTP as they answer in a test", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(SEEDS));
  const call = deployment.call.bind(deployment);

  const greeting = await call("example-api", "POST /api/greet", { name: "Alice" });
  assert.deepEqual(greeting.json, { message: "Hello, Alice!" });
  const sum = await call("my-api", "POST /api/process", { x: 5, y: 3 });
  assert.equal(sum.status, 200);
  assert.deepEqual(sum.json, { result: 8 });

  assert.deepEqual((await call("user-service", "GET /users")).json, { users: [] });
  const created = await call("user-service", "POST /users", {
    name: "Al",
    email: "al@example.com",
  });
  assert.deepEqual(created.json, { id: 1, name: "Al", email: "al@example.com" });
  // The path parameter arrives as the number its type says.
  const user = await call("user-service", "GET /users/42");
  assert.deepEqual(user.json, { id: 42, name: "Alice" });
  assert.deepEqual((await call("user-service", "DELETE /users/42")).json, { deleted: true });

  const product = { operation: "multiply", a: 5, b: 3 };
  assert.equal((await call("test-api", "POST /api/calculate", product)).json, 15);
  const unknown = await call("test-api", "POST /api/calculate", { ...product, operation: "?" });
  assert.equal(unknown.status, 500);
  assert.match(unknown.text, /Unknown operation: \?/);

  // Declared live, deployed like any other: nothing runs code that a request brings along.
  assert.equal((await call("my-api", "POST /execute", {})).status, 404);
});

test("deploy --json names app, release and every endpoint with its routes", async (t) => {
  const sandbox = await Sandbox.open(t);
  const { document } = await sandbox.deploy(sandbox.project(SEEDS, "guide"), "--env", "staging");
  assert.equal(document.app, "guide");
  assert.equal(document.environment, "staging");
  assert.equal(document.target, sandbox.url);
  assert.ok(document.build.length > 0 && document.release.length > 0);
  const users = document.endpoints.find(({ name }) => name === "user-service");
  assert.equal(users?.kind, "lb");
  assert.deepEqual(users?.routes.map(({ method, path }) => `${method} ${path}`).sort(), [
    "DELETE /users/{user_id}",
    "GET /users",
    "GET /users/{user_id}",
    "POST /users",
  ]);
});

test("a deployed endpoint refuses wrong input, survives a throwing route, and has no /execute", async (t) => {
  const sandbox = await Sandbox.open(t);
  // One that stays: without work for a second another one would come.
  const deployment = await sandbox.deploy(sandbox.project(adder("adder", "", "[1, 1]")));
  const call = deployment.call.bind(deployment, "adder");

  assert.equal((await call("POST /api/process", { x: 5, y: 3 })).json, 8);
  const { pid } = (await call("GET /who")).json as { pid: number };

  const wrong = await call("POST /api/process", { x: "a", y: 3 });
  assert.equal(wrong.status, 422);
  assert.equal(wrong.headers.get("content-type"), "application/problem+json");
  const { issues } = wrong.json as { issues: { path: string }[] };
  assert.deepEqual(
    issues.map((issue) => issue.path),
    ["x"],
  );

  const thrown = await call("POST /api/explode", {});
  assert.equal(thrown.status, 500);
  assert.match(thrown.text, /boom at runtime/);
  assert.equal(((await call("GET /who")).json as { pid: number }).pid, pid, "the same worker");

  for (const route of ["/execute", "/execute/", "/EXECUTE"]) {
    assert.equal((await call(`POST ${route}`, {})).status, 404, route);
  }
  assert.deepEqual((await call("GET /ping")).json, { status: "healthy" });
  const missing = await call("GET /nothing/here");
  assert.equal(missing.status, 404);
});

test("calls without the key, or with a wrong one, are refused", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(adder("adder")));
  const url = `${deployment.endpoint("adder").url}/who`;
  assert.equal((await fetch(url)).status, 401);
  assert.equal((await fetch(url, { headers: { authorization: "Bearer nonsense" } })).status, 401);
  assert.equal((await fetch(`${sandbox.url}/livez`)).status, 200);
  const token = await sandbox.flash(ROOT, "token");
  assert.equal(token.stdout.trim(), sandbox.key);
});

test("the user-service example: six routes and its errors", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.example("user-service"));
  const call = deployment.call.bind(deployment, "user-service");
  assert.deepEqual((await call("GET /health")).json, { status: "healthy" });
  const listed = (await call("GET /users")).json as { users: { name: string }[] };
  assert.deepEqual(
    listed.users.map(({ name }) => name),
    ["Alice", "Bob"],
  );
  const created = (await call("POST /users", { name: "Eve", email: "e@example.com" })).json;
  assert.deepEqual(created, { id: 3, name: "Eve", email: "e@example.com" });
  assert.deepEqual((await call("PUT /users/3", { name: "Eva" })).json, {
    id: 3,
    name: "Eva",
    email: "e@example.com",
  });
  assert.deepEqual((await call("GET /users/3")).json, {
    id: 3,
    name: "Eva",
    email: "e@example.com",
  });
  assert.deepEqual((await call("DELETE /users/3")).json, { deleted: true });
  const gone = await call("GET /users/3");
  assert.equal(gone.status, 500);
  assert.equal((gone.json as { error: { name: string } }).error.name, "UserNotFound");
});

test("the mixed example: a route calls a queue endpoint by name", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.example("mixed"));
  const answer = await deployment.call("public-api", "POST /process", { prompt: "a red fox" });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json, {
    status: "done",
    result: { prompt: "a red fox", steps: 20, tokens: 3 },
  });
  const job = await deployment.call("gpu-backend", "POST /runsync", {
    input: { prompt: "one two", steps: 3 },
  });
  const { status, output } = job.json as { status: string; output: unknown };
  assert.deepEqual([status, output], ["COMPLETED", { prompt: "one two", steps: 3, tokens: 2 }]);
});

test("the scenarios deploy as four endpoints under their names", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.example("scenarios"));
  assert.deepEqual(
    deployment.document.endpoints.map(({ name, kind }) => `${kind} ${name}`).sort(),
    ["lb api-server", "qb gpu-inference", "qb inference", "qb preprocess"],
  );
  const job = await deployment.call("gpu-inference", "POST /runsync", {
    input: { values: [1, 2] },
  });
  assert.deepEqual((job.json as { output: unknown }).output, { sum: 3 });
  const text = await deployment.call("api-server", "POST /translate", { text: "oui", to: "fr" });
  assert.deepEqual(text.json, { text: "« oui »", to: "fr" });
});
