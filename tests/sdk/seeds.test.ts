/** The programs of the seeds, line by line, as their authors ran them: in a test, without a server. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  Endpoint,
  GpuType,
  LiveLoadBalancer,
  LoadBalancerSlsResource,
  remote,
} from "../../src/sdk/sdk.ts";

describe("seed 004", () => {
  test("greets the user", async () => {
    const api = new LiveLoadBalancer({ name: "example-api" });
    const greetUser = remote(api, { method: "POST", path: "/api/greet" }, async (name: string) => ({
      message: `Hello, ${name}!`,
    }));
    assert.deepEqual(await greetUser("Alice"), { message: "Hello, Alice!" });
  });

  test("several functions share a resource with different routes", async () => {
    const api = new LiveLoadBalancer({ name: "user-service" });
    const listUsers = remote(api, { method: "GET", path: "/users" }, () => ({ users: [] }));
    const createUser = remote(
      api,
      { method: "POST", path: "/users" },
      async (name: string, email: string) => ({ id: 1, name, email }),
    );
    const getUser = remote(api, { method: "GET", path: "/users/{user_id}" }, (user_id: number) => ({
      id: user_id,
      name: "Alice",
    }));
    const deleteUser = remote(
      api,
      { method: "DELETE", path: "/users/{user_id}" },
      async (_user_id: number) => ({ deleted: true }),
    );
    assert.deepEqual(listUsers(), { users: [] });
    assert.deepEqual(await createUser("Ann", "a@x"), { id: 1, name: "Ann", email: "a@x" });
    assert.deepEqual(getUser(7), { id: 7, name: "Alice" });
    assert.deepEqual(await deleteUser(7), { deleted: true });
  });

  test("processes data", async () => {
    const api = new LiveLoadBalancer({ name: "my-api" });
    const processData = remote(
      api,
      { method: "POST", path: "/api/process" },
      async (x: number, y: number) => ({ result: x + y }),
    );
    assert.deepEqual(await processData(5, 3), { result: 8 });
  });

  test("the calculator's own error reaches the caller", async () => {
    class ValueError extends Error {}
    const api = new LiveLoadBalancer({ name: "test-api" });
    const calculate = remote(
      api,
      { method: "POST", path: "/api/calculate" },
      async (operation: string, a: number, b: number) => {
        if (operation === "add") return a + b;
        if (operation === "multiply") return a * b;
        throw new ValueError(`Unknown operation: ${operation}`);
      },
    );
    assert.equal(await calculate("add", 5, 3), 8);
    assert.equal(await calculate("multiply", 5, 3), 15);
    await assert.rejects(calculate("unknown", 5, 3), (error) => {
      assert.ok(error instanceof ValueError);
      assert.equal(error.message, "Unknown operation: unknown");
      return true;
    });
  });

  test("the user service's functions work, and a missing user is the user's own exception", async () => {
    class UserNotFound extends Error {}
    const api = new LiveLoadBalancer({ name: "user-service-test" });
    const users = new Map([[1, { id: 1, name: "Alice", email: "alice@example.com" }]]);
    const find = (id: number) => {
      const user = users.get(id);
      if (user === undefined) throw new UserNotFound(`User ${id} not found`);
      return user;
    };
    const createUser = remote(
      api,
      { method: "POST", path: "/users" },
      async (name: string, email: string) => {
        const user = { id: Math.max(0, ...users.keys()) + 1, name, email };
        users.set(user.id, user);
        return user;
      },
    );
    const getUser = remote(api, { method: "GET", path: "/users/{user_id}" }, (user_id: number) =>
      find(user_id),
    );
    const updateUser = remote(
      api,
      { method: "PUT", path: "/users/{user_id}" },
      async (user_id: number, name: string | null = null) => {
        const user = find(user_id);
        if (name !== null) user.name = name;
        return user;
      },
    );
    const deleteUser = remote(
      api,
      { method: "DELETE", path: "/users/{user_id}" },
      async (user_id: number) => {
        find(user_id);
        users.delete(user_id);
        return { deleted: true };
      },
    );
    const created = await createUser("Charlie", "charlie@example.com");
    assert.equal(created.name, "Charlie");
    assert.equal(getUser(created.id).name, "Charlie");
    assert.equal((await updateUser(created.id, "Charles")).name, "Charles");
    assert.equal((await deleteUser(created.id)).deleted, true);
    assert.throws(() => getUser(created.id), UserNotFound);
    await assert.rejects(deleteUser(created.id), UserNotFound);
  });

  test("a production resource's functions run in process under a test runner, as promises", async () => {
    const api = new LoadBalancerSlsResource({
      name: "p",
      imageName: "runpod/runpod-flash-lb:latest",
    });
    const health = remote(api, { method: "GET", path: "/health" }, () => ({ status: "healthy" }));
    const pending = health();
    assert.ok(pending instanceof Promise);
    assert.deepEqual(await pending, { status: "healthy" });
  });
});

describe("seed 000", () => {
  test("a queue function runs with its name of its own", async () => {
    const processData = Endpoint(
      { name: "gpu-inference", gpu: GpuType.NVIDIA_A100_80GB_PCIe },
      async (values: number[]) => values.length,
    );
    assert.equal(await processData([1, 2, 3]), 3);
    assert.deepEqual(
      { ...processData.endpoint },
      { name: "gpu-inference", kind: "qb", resource: "Endpoint" },
    );
  });

  test("one load-balanced endpoint carries several routes", async () => {
    const api = Endpoint({ name: "api-server", cpu: "cpu5c-4-8", workers: [1, 5] });
    const generate = api.post("/generate", async (prompt: string) => ({ text: prompt }));
    const health = api.get("/health", () => ({ status: "healthy" }));
    assert.deepEqual(await generate("hi"), { text: "hi" });
    assert.deepEqual(await health(), { status: "healthy" });
    assert.equal(api.isLoadBalanced, true);
    assert.equal(api.scalerType, "REQUEST_COUNT");
  });

  test("a route may call a queue function", async () => {
    const backend = Endpoint({ name: "gpu-backend" }, async (prompt: string) => prompt.length);
    const api = Endpoint({ name: "public-api" });
    const run = api.post("/process", async (prompt: string) => ({ size: await backend(prompt) }));
    assert.deepEqual(await run("four"), { size: 4 });
  });
});
