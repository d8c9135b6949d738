/**
 * Tests without a deployment, a server or a network: with a LiveLoadBalancer the functions run in
 * this process. The last test calls the production service's own functions the same way.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveLoadBalancer, remote } from "runpod-flash";
import * as service from "./user_service.ts";
import { UserNotFound, type User } from "./user_service.ts";

const api = new LiveLoadBalancer({ name: "user-service-test" });

const users = new Map<number, User>([
  [1, { id: 1, name: "Alice", email: "alice@example.com" }],
  [2, { id: 2, name: "Bob", email: "bob@example.com" }],
]);

const listUsers = remote(api, { method: "GET", path: "/users" }, () => ({
  users: [...users.values()],
}));

const createUser = remote(
  api,
  { method: "POST", path: "/users" },
  async (name: string, email: string) => {
    const id = Math.max(0, ...users.keys()) + 1;
    const user: User = { id, name, email };
    users.set(id, user);
    return user;
  },
);

const getUser = remote(api, { method: "GET", path: "/users/{user_id}" }, (user_id: number) => {
  const user = users.get(user_id);
  if (user === undefined) throw new UserNotFound(`User ${user_id} not found`);
  return user;
});

const updateUser = remote(
  api,
  { method: "PUT", path: "/users/{user_id}" },
  async (user_id: number, name: string | null = null, email: string | null = null) => {
    const user = users.get(user_id);
    if (user === undefined) throw new UserNotFound(`User ${user_id} not found`);
    if (name !== null) user.name = name;
    if (email !== null) user.email = email;
    return user;
  },
);

const deleteUser = remote(
  api,
  { method: "DELETE", path: "/users/{user_id}" },
  async (user_id: number) => {
    if (!users.delete(user_id)) throw new UserNotFound(`User ${user_id} not found`);
    return { deleted: true };
  },
);

test("lists the users", () => {
  // A synchronous function of a Live resource stays synchronous.
  const found = listUsers();
  assert.ok("users" in found);
  assert.ok(Array.isArray(found.users));
});

test("creates a user and gets it", async () => {
  const created = await createUser("Charlie", "charlie@example.com");
  assert.equal(created.name, "Charlie");
  assert.ok(created.id > 0);

  const user = getUser(created.id);
  assert.equal(user.name, "Charlie");
});

test("updates what is given and leaves the rest", async () => {
  const created = await createUser("Diana", "diana@example.com");
  const updated = await updateUser(created.id, "Diana Updated");
  assert.equal(updated.name, "Diana Updated");
  assert.equal(updated.email, "diana@example.com");
});

test("deletes a user, who is not found afterwards", async () => {
  const created = await createUser("Eve", "eve@example.com");
  const result = await deleteUser(created.id);
  assert.equal(result.deleted, true);

  // The function's own error arrives, not a wrapped one.
  assert.throws(() => getUser(created.id), UserNotFound);
});

test("the production service's functions run in process under a test runner, too", async () => {
  assert.deepEqual(await service.healthCheck(), { status: "healthy" });
  const { users: before } = await service.listUsers();
  assert.deepEqual(
    before.map(({ name }) => name),
    ["Alice", "Bob"],
  );
  const created = await service.createUser("Frank", "frank@example.com");
  assert.equal(
    (await service.updateUser(created.id, null, "f@example.com")).email,
    "f@example.com",
  );
  assert.equal((await service.getUser(created.id)).name, "Frank");
  assert.deepEqual(await service.deleteUser(created.id), { deleted: true });
  await assert.rejects(async () => service.getUser(created.id), UserNotFound);
});
