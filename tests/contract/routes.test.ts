import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  RouteTable,
  conflictKey,
  fillPath,
  isReserved,
  methodMistake,
  pathMistake,
  pathParameters,
  readMethod,
  type HttpMethod,
} from "../../src/contract/routes.ts";

describe("declared routes", () => {
  const mistakes: [path: unknown, message: string | undefined][] = [
    ["/", undefined],
    ["/users", undefined],
    ["/users/", undefined],
    ["/users/{user_id}", undefined],
    ["/users/{user_id}/posts/{post_id}", undefined],
    ["/v1/models", undefined],
    ["/caf%C3%A9", undefined],
    ["/pings", undefined],
    ["/ping/all", undefined],
    ["/execute/{id}", undefined],
    ["users", "path must start with '/', got: users"],
    ["", "path must start with '/', got: "],
    [undefined, "path must start with '/', got: undefined"],
    ["/a//b", "path '/a//b' has an empty segment; write single slashes"],
    ["//a", "path '//a' has an empty segment; write single slashes"],
    ["/a//", "path '/a//' has an empty segment; write single slashes"],
    ["/a?b=1", "path '/a?b=1' must not hold '?', '#' or white space"],
    ["/a b", "path '/a b' must not hold '?', '#' or white space"],
    ["/a/../b", "path '/a/../b' must not hold the segment '..'"],
    ["/a/%2e", "path '/a/%2e' must not hold the segment '%2e'"],
    [
      "/users/{}",
      "path '/users/{}' has a malformed parameter in '{}'; write a whole segment such as /{user_id}",
    ],
    [
      "/files/{name}.txt",
      "path '/files/{name}.txt' has a malformed parameter in '{name}.txt'; write a whole segment such as /{user_id}",
    ],
    ["/{id}/x/{id}", "path '/{id}/x/{id}' names the parameter 'id' twice"],
  ];
  for (const [path, message] of mistakes) {
    test(`${String(path)}: ${message ?? "is fine"}`, () =>
      assert.equal(pathMistake(path), message));
  }

  for (const path of ["/ping", "/ping/", "/PING", "/Ping/", "/execute", "/execute/", "/%70ing"]) {
    test(`${path} is reserved`, () => {
      assert.equal(isReserved(path), true);
      assert.equal(
        pathMistake(path),
        `path '${path}' is reserved by the framework. reserved paths: /execute, /ping`,
      );
    });
  }

  const pairs: [a: string, b: string, isConflict: boolean][] = [
    ["/users/{id}", "/users/{uid}", true],
    ["/users", "/users/", true],
    ["/", "/", true],
    ["/caf%C3%A9", "/café", true],
    ["/users/{id}", "/users/me", false],
    ["/users", "/Users", false],
    ["/users/{id}", "/users/{id}/posts", false],
    ["/a%2Fb", "/a/b", false],
  ];
  for (const [a, b, isConflict] of pairs) {
    test(`${a} and ${b} ${isConflict ? "conflict" : "are two routes"}`, () => {
      const keys = [a, b].map((path) => conflictKey({ method: "GET", path }));
      assert.equal(keys[0] === keys[1], isConflict);
      assert.notEqual(keys[0], conflictKey({ method: "POST", path: a }));
    });
  }

  test("methods are read without regard to case; the message names what was given", () => {
    for (const text of ["POST", "post", "Post"]) assert.equal(readMethod(text), "POST");
    for (const wrong of ["HEAD", "PTACH", "", 5, undefined])
      assert.equal(readMethod(wrong), undefined);
    assert.equal(
      methodMistake("PTACH"),
      "Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH",
    );
  });

  test("parameters are listed in order and filled percent-encoded", () => {
    assert.deepEqual(pathParameters("/a/{x}/b/{y}"), ["x", "y"]);
    assert.equal(fillPath("/a/{x}/b/{y}/", { x: "ä/ö", y: "1 2" }), "/a/%C3%A4%2F%C3%B6/b/1%202/");
    assert.equal(fillPath("/", {}), "/");
  });
});

describe("the route of a request", () => {
  const table = new RouteTable<string>();
  const routes: [method: HttpMethod, path: string][] = [
    ["GET", "/"],
    ["GET", "/users"],
    ["POST", "/users"],
    ["GET", "/users/{id}"],
    ["DELETE", "/users/{id}"],
    ["PUT", "/users/me"],
    ["GET", "/users/me/posts"],
    ["GET", "/users/{id}/posts/{post}"],
    ["PATCH", "/users/{name}/likes"],
    ["GET", "/café"],
  ];
  for (const [method, path] of routes) table.add({ method, path }, `${method} ${path}`);

  const matches: [method: string, path: string, value: string, params: Record<string, string>][] = [
    ["GET", "/", "GET /", {}],
    ["GET", "", "GET /", {}],
    ["GET", "/users", "GET /users", {}],
    ["GET", "/users/", "GET /users", {}],
    ["HEAD", "/users", "GET /users", {}],
    ["POST", "/users", "POST /users", {}],
    ["GET", "/users/7", "GET /users/{id}", { id: "7" }],
    ["GET", "/users/7/", "GET /users/{id}", { id: "7" }],
    ["PUT", "/users/me", "PUT /users/me", {}],
    // The fixed segment has no GET, so the parameter gets its turn.
    ["GET", "/users/me", "GET /users/{id}", { id: "me" }],
    ["GET", "/users/me/posts/1", "GET /users/{id}/posts/{post}", { id: "me", post: "1" }],
    ["GET", "/users/me/posts", "GET /users/me/posts", {}],
    // Each route has its own names for the same place.
    ["PATCH", "/users/ann/likes", "PATCH /users/{name}/likes", { name: "ann" }],
    ["GET", "/users/a%2Fb%20c", "GET /users/{id}", { id: "a/b c" }],
    ["GET", "/users/%E0%A4", "GET /users/{id}", { id: "%E0%A4" }],
    ["GET", "/users/{id}", "GET /users/{id}", { id: "{id}" }],
    ["GET", "/users/__proto__", "GET /users/{id}", { id: "__proto__" }],
    ["GET", "/caf%C3%A9", "GET /café", {}],
    ["GET", "/café", "GET /café", {}],
    ["GET", "/us%65rs", "GET /users", {}],
  ];
  for (const [method, path, value, params] of matches) {
    test(`${method} ${path} is ${value}`, () => {
      const found = table.find(method, path);
      assert.equal(found.kind, "match");
      if (found.kind !== "match") return;
      assert.equal(found.value, value);
      assert.deepEqual({ ...found.params }, params);
    });
  }

  const misses: [method: string, path: string, allowed: HttpMethod[]][] = [
    ["PATCH", "/users", ["GET", "POST"]],
    ["POST", "/users/me", ["GET", "PUT", "DELETE"]],
    ["OPTIONS", "/", ["GET"]],
    ["get", "/users", ["GET", "POST"]],
  ];
  for (const [method, path, allowed] of misses) {
    test(`${method} ${path} is another method: ${allowed.join(", ")}`, () => {
      assert.deepEqual(table.find(method, path), { kind: "wrong-method", allowed });
    });
  }

  for (const path of [
    "/nothing",
    "/users//",
    "//users",
    "/users//posts",
    "/users/1/2",
    "/Users",
    "/users/me/posts/".concat("/"),
  ]) {
    test(`${path} is no route`, () => assert.deepEqual(table.find("GET", path), { kind: "none" }));
  }

  test("a path of a hundred thousand segments is no route, and no stack overflow", () => {
    assert.deepEqual(table.find("GET", "/users".repeat(100_000)), { kind: "none" });
  });
});
