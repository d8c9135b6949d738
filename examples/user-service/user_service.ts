/** An example of a load-balanced API service: six routes, one endpoint, an in-memory database. */

import { LoadBalancerSlsResource, remote } from "runpod-flash";

// For production. In tests and scripts LiveLoadBalancer runs the same functions in process.
const api = new LoadBalancerSlsResource({
  name: "user-service",
  imageName: "runpod/runpod-flash-lb:latest",
});

export interface User {
  id: number;
  name: string;
  email: string;
}

export class UserNotFound extends Error {
  override name = "UserNotFound";
}

const users = new Map<number, User>([
  [1, { id: 1, name: "Alice", email: "alice@example.com" }],
  [2, { id: 2, name: "Bob", email: "bob@example.com" }],
]);

/** Health check endpoint. */
export const healthCheck = remote(api, { method: "GET", path: "/health" }, () => ({
  status: "healthy",
}));

/** List all users. */
export const listUsers = remote(api, { method: "GET", path: "/users" }, () => ({
  users: [...users.values()],
}));

/** Create a new user. */
export const createUser = remote(
  api,
  { method: "POST", path: "/users" },
  async (name: string, email: string) => {
    const id = Math.max(0, ...users.keys()) + 1;
    const user: User = { id, name, email };
    users.set(id, user);
    return user;
  },
);

/** Get a specific user. */
export const getUser = remote(
  api,
  { method: "GET", path: "/users/{user_id}" },
  (user_id: number) => {
    const user = users.get(user_id);
    if (user === undefined) throw new UserNotFound(`User ${user_id} not found`);
    return user;
  },
);

/** Update a user. */
export const updateUser = remote(
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

/** Delete a user. */
export const deleteUser = remote(
  api,
  { method: "DELETE", path: "/users/{user_id}" },
  async (user_id: number) => {
    if (!users.delete(user_id)) throw new UserNotFound(`User ${user_id} not found`);
    return { deleted: true };
  },
);
