/** What declaring calls leave for the compiler and the worker. */

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { DECLARATION, registry, type Declared } from "../../src/contract/registry.ts";
import {
  CpuLiveServerless,
  Endpoint,
  FlashError,
  LiveLoadBalancer,
  LiveServerless,
  LoadBalancerSlsResource,
  remote,
} from "../../src/sdk/sdk.ts";

function mode(value: "script" | "describe" | "serve"): void {
  Object.assign(registry(), { mode: value, declarations: [], mistakes: [], endpoint: undefined });
}

afterEach(() => mode("script"));

const declarationOf = (value: unknown) => (value as Declared)[DECLARATION];
const here = /declare\.test\.ts:\d+:\d+/;
const firstFrame = (site: string | undefined) => site?.split("\n")[1] ?? "";

describe("while describing", () => {
  test("a queue function, its name, its code and its place are declared", () => {
    mode("describe");
    const handler = async (text: string) => text;
    const analyze = Endpoint({ name: "analyze", workers: 3 }, handler);
    const [declaration] = registry().declarations;
    assert.ok(declaration);
    assert.deepEqual(declaration.target, { form: "function", handler });
    const { name, kind, resource, live, options, routes } = declaration;
    assert.deepEqual(
      { name, kind, resource, live, options, routes },
      {
        name: "analyze",
        kind: "qb",
        resource: "Endpoint",
        live: false,
        options: { name: "analyze", workers: 3 },
        routes: [],
      },
    );
    assert.match(firstFrame(declaration.site), here);
    assert.match(firstFrame(declaration.targetSite), here);
    assert.equal(declarationOf(analyze).endpoint, declaration);
  });

  test("the place of a curried call is where the code was given", () => {
    mode("describe");
    const builder = Endpoint({ name: "a" });
    const before = registry().declarations[0];
    assert.equal(before?.kind, undefined);
    builder(function later() {});
    const line = (site: string | undefined) => Number(/ts:(\d+):/.exec(firstFrame(site))?.[1]);
    assert.equal(line(before?.targetSite), line(before?.site) + 3);
    assert.equal(before?.kind, "qb");
  });

  test("each route has its own place", () => {
    mode("describe");
    const api = Endpoint({ name: "api" });
    const one = api.get("/one", () => 1);
    const two = api.post("/two")(() => 2);
    const three = api.route("patch", "/three", () => 3);
    const [declaration] = registry().declarations;
    assert.ok(declaration);
    assert.equal(declaration.kind, "lb");
    assert.deepEqual(
      declaration.routes.map(({ method, path }) => `${method} ${path}`),
      ["GET /one", "POST /two", "PATCH /three"],
    );
    for (const { site } of declaration.routes) assert.match(firstFrame(site), here);
    for (const [index, route] of [one, two, three].entries()) {
      assert.equal(declarationOf(route).route, declaration.routes[index]);
    }
    assert.equal(declarationOf(api).endpoint, declaration);
  });

  test("resources declare themselves, and remote() their code", () => {
    mode("describe");
    const api = new LiveLoadBalancer({ name: "api", idleTimeout: 5 });
    remote(api, { method: "get", path: "/x", dependencies: ["sharp"] }, () => 1);
    remote(api, { method: "get", path: "/y", dependencies: ["sharp", "left"] })(() => 1);
    const queue = new CpuLiveServerless({ name: "queue", workersMax: 2 });
    const Model = remote(
      queue,
      class Model {
        run() {}
      },
    );
    const [first, second] = registry().declarations;
    assert.equal(first?.live, true);
    assert.equal(first?.resource, "LiveLoadBalancer");
    assert.deepEqual(first?.options.dependencies, ["sharp", "left"]);
    assert.equal(first?.options.idleTimeoutS, 5);
    for (const { site } of first?.routes ?? []) assert.match(firstFrame(site), here);
    assert.deepEqual(second?.options, { name: "queue", workers: [0, 2], cpu: ["cpu3g-2-8"] });
    assert.equal(second?.target?.form, "class");
    assert.equal(declarationOf(Model).endpoint, second);
    assert.match(firstFrame(second?.site), here);
  });

  test("every mistake is noted with its place, and evaluation goes on", () => {
    mode("describe");
    const api = Endpoint({ name: "a b", workers: [2, 1] });
    // @ts-expect-error -- the compiler finds it as well
    api.get("nope", () => 1);
    api.get("/ping", () => 1);
    api.get("/x", () => 1);
    api.get("/x", () => 1);
    const { mistakes, declarations } = registry();
    assert.deepEqual(
      mistakes.map(({ error }) => error.message.slice(0, 30)),
      [
        "name may hold letters, digits,",
        "workers min (2) cannot exceed ",
        "path must start with '/', got:",
        "path '/ping' is reserved by th",
        "duplicate route: GET /x (alrea",
      ],
    );
    for (const { site } of mistakes) assert.match(firstFrame(site), here);
    assert.equal(declarations[0]?.routes.length, 1);
  });

  test("image and id clients are declared as clients", () => {
    mode("describe");
    Endpoint({ name: "vllm", image: "vllm/vllm:1" });
    Endpoint({ id: "abc" });
    assert.deepEqual(
      registry().declarations.map(({ kind, options }) => [kind, options.image]),
      [
        ["client", "vllm/vllm:1"],
        ["client", undefined],
      ],
    );
  });

  test("calls are refused with a mark that the compiler knows", async () => {
    mode("describe");
    let calls = 0;
    const count = (): number => ++calls;
    const live = new LiveLoadBalancer({ name: "l" });
    const production = new LoadBalancerSlsResource({ name: "p" });
    const analyze = Endpoint({ name: "a" }, count);
    const attempts: (() => unknown)[] = [
      () => analyze(),
      () => analyze.run(),
      () => Endpoint({ name: "b" }).get("/x", count)(),
      () => remote(production, { method: "GET", path: "/x" }, count)(),
      () => remote(live, { method: "GET", path: "/a" }, async () => count())(),
      async () => remote(live, { method: "GET", path: "/b" }, count)(),
      () => Endpoint({ id: "abc" }).get("/x"),
      () => Endpoint({ id: "abc" }).run({}),
      () => production.deploy(),
      () => production.undeploy(),
      () => production.isDeployed(),
    ];
    for (const attempt of attempts) {
      await assert.rejects(
        async () => attempt(),
        (error) => {
          assert.ok(FlashError.is(error));
          assert.equal(error.code, "INVALID_USAGE");
          assert.equal(error.details?.["describing"], true);
          return true;
        },
      );
    }
    assert.equal(calls, 0);
  });

  test("a call that nobody waits for does not end the process", async () => {
    mode("describe");
    let unhandled = 0;
    const onUnhandled = (): void => void unhandled++;
    process.on("unhandledRejection", onUnhandled);
    void Endpoint({ name: "a" }, () => 1)();
    void Endpoint({ id: "abc" })
      .health()
      .catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", onUnhandled);
    assert.equal(unhandled, 0);
  });
});

describe("otherwise", () => {
  test("a script's declarations are kept by nobody", () => {
    mode("script");
    for (let n = 0; n < 100; n++) Endpoint({ name: "a" }, () => n);
    assert.equal(registry().declarations.length, 0);
  });

  test("a worker gets its declarations, but not the clients that its requests make", () => {
    mode("serve");
    Endpoint({ name: "a" }, () => 1);
    for (let n = 0; n < 100; n++) Endpoint({ id: "abc" });
    assert.equal(registry().declarations.length, 1);
  });

  test("a queue endpoint may be named later, by its export", () => {
    mode("serve");
    const analyze = Endpoint({}, () => 1);
    assert.equal(analyze.endpoint.name, undefined);
    const [declaration] = registry().declarations;
    assert.ok(declaration);
    declaration.name = "analyze";
    assert.equal(analyze.endpoint.name, "analyze");
  });

  test("Endpoint works with and without new, and knows what it made", () => {
    for (const made of [Endpoint("a"), new Endpoint({ name: "a" }), Endpoint({ id: "x" })]) {
      assert.ok((made as unknown) instanceof (Endpoint as unknown as new () => object));
    }
    assert.equal(Endpoint("a").name, "a");
    const { isClient, isCpu, workersMin, workersMax, scalerType } = Endpoint({
      name: "a",
      cpu: "cpu3c-1-2",
      workers: 4,
    });
    assert.deepEqual(
      { isClient, isCpu, workersMin, workersMax, scalerType },
      { isClient: false, isCpu: true, workersMin: 0, workersMax: 4, scalerType: "QUEUE_DELAY" },
    );
  });

  test("the user's options are not changed", () => {
    const options = { name: "q", dependencies: ["a"] };
    remote(new LiveServerless(options), { dependencies: ["b"] }, () => 1);
    assert.deepEqual(options, { name: "q", dependencies: ["a"] });
  });

  test("a class keeps its statics and its name, as a wrapper and as a decorated class", async () => {
    class Model {
      static readonly version = "1.2";
      async predict(prompt: string): Promise<string> {
        return `${prompt}!`;
      }
    }
    const decorate = Endpoint({ name: "m" });
    // What a compiler of decorators calls.
    const Decorated = decorate(Model, { kind: "class", name: "Model" } as ClassDecoratorContext);
    assert.equal(Decorated.version, "1.2");
    assert.equal(Decorated.name, "Model");
    const model = new Decorated();
    assert.equal(await model.predict("a"), "a!");
    assert.ok(model instanceof Decorated);
  });
});
