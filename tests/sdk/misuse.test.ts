/** Every way to use the SDK that cannot work, with the text it is refused with. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  CpuInstanceType,
  Endpoint,
  FlashError,
  LiveLoadBalancer,
  LiveServerless,
  LoadBalancerSlsResource,
  NetworkVolume,
  PodTemplate,
  ServerlessEndpoint,
  remote,
} from "../../src/sdk/sdk.ts";

/** JavaScript callers have no types: everything below is called as they would. */
// oxlint-disable-next-line typescript/no-explicit-any
type Untyped = any;
const Loose = Endpoint as Untyped;
const looseRemote = remote as Untyped;

function refused(work: () => unknown, message: string, code = "INVALID_USAGE"): FlashError {
  let thrown: unknown;
  assert.throws(work, (error) => {
    thrown = error;
    return FlashError.is(error);
  });
  const error = thrown as FlashError;
  assert.equal(error.message, message);
  assert.equal(error.code, code);
  return error;
}

const fn = (): number => 1;

describe("Endpoint refuses", () => {
  test("to decorate with a client", () => {
    for (const [mode, options] of [
      ["id", { id: "abc" }],
      ["image", { name: "x", image: "vllm/vllm:1" }],
    ] as const) {
      const text = `cannot use Endpoint(${mode}=...) as a decorator. ${mode}= endpoints are clients for external/pre-built services. use Endpoint(name=...) for your own code.`;
      refused(() => Loose(options)(fn), text);
      refused(() => Loose(options, fn), text);
      refused(
        () =>
          new Loose(options)(
            class {
              run() {}
            },
          ),
        text,
      );
    }
  });

  test("a function after routes, and routes after a function", () => {
    const routed = Loose({ name: "a" });
    routed.get("/x", fn);
    refused(
      () => routed(fn),
      "cannot use Endpoint as a direct decorator after registering routes with .get()/.post()/etc. use one pattern or the other.",
    );
    const direct = Loose({ name: "b" });
    direct(fn);
    refused(
      () => direct.post("/x", fn),
      "cannot add routes after using Endpoint as a direct decorator. use one pattern or the other.",
    );
  });

  test("a second function", () => {
    const endpoint = Loose({ name: "b" });
    endpoint(function first() {});
    refused(
      () => endpoint(fn),
      "'b' already runs 'first'. a queue-based endpoint has exactly one function or class.",
    );
  });

  test("routes without a name", () => {
    const error = refused(
      () => Loose({}).get("/x", fn),
      "name is required for load-balanced endpoints. use Endpoint(name='my-api', ...) when registering routes.",
    );
    assert.equal(error.hint, "Write Endpoint({ name: 'my-api' }).");
  });

  test("wrong methods and paths", () => {
    const api = Loose({ name: "a" });
    refused(
      () => api.route("PTACH", "/x", fn),
      "Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH",
    );
    refused(() => api.get("x", fn), "path must start with '/', got: x");
    for (const path of ["/ping", "/execute"]) {
      refused(
        () => api.get(path, fn),
        `path '${path}' is reserved by the framework. reserved paths: /execute, /ping`,
      );
    }
  });

  test("the same route twice", () => {
    const api = Loose({ name: "a" });
    api.get("/users/{id}", function getUser() {});
    refused(
      () => api.get("/users/{user_id}", fn),
      "duplicate route: GET /users/{user_id} (already registered to 'getUser')",
    );
    api.post("/users/{id}", fn);
  });

  test("data where a handler belongs, and a handler where data belongs", () => {
    const api = Loose({ name: "a" });
    const text =
      "data and keyword arguments are only valid in client mode (Endpoint with id= or image=). in decorator mode, use @api.post('/path') with no extra arguments.";
    refused(() => api.post("/x", { prompt: "hi" }), text);
    refused(() => api.post("/x", fn, { timeoutMs: 1 }), text);
    refused(
      () => Loose({ id: "abc" }).post("/x", fn),
      `Endpoint(id=...) is a client, not a route decorator. @ep.post("/x") cannot register handlers on a client endpoint. to register routes, use Endpoint(name=...) without id=.`,
    );
  });

  test("what is neither options nor code", () => {
    refused(() => Loose(), "Endpoint() takes options or a name, got undefined");
    refused(
      () => Loose({ name: "a" }, 5),
      "Endpoint() takes a function or class to run, got number",
    );
  });

  test("wrong options, the first mistake first", () => {
    const invalid = (options: object, message: string) =>
      refused(() => Loose(options), message, "INVALID_OPTIONS");
    invalid(
      { name: "a", gpu: "any", cpu: "cpu3c-1-2" },
      "gpu and cpu are mutually exclusive. specify one or neither.",
    );
    invalid(
      { id: "a", image: "b" },
      "id and image are mutually exclusive. id= connects to an existing endpoint, image= deploys a new one.",
    );
    invalid({ image: "b" }, "name or id is required when image= is set.");
    invalid({ name: "a", maxConcurrency: 0 }, "max_concurrency must be >= 1, got 0");
    invalid({ name: "a", workers: [3, 1] }, "workers min (3) cannot exceed max (1)");
    invalid(
      { name: "a", wrokers: 1 },
      "Endpoint() got unknown option: 'wrokers' (Did you mean 'workers'?)",
    );
  });

  test("a queue scaler on routes, as soon as it is known to have routes", () => {
    const api = Loose({ name: "a", scalerType: "QUEUE_DELAY" });
    refused(
      () => api.get("/x", fn),
      "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. Load-balanced endpoints don't support queue-based scaling.",
      "INVALID_OPTIONS",
    );
  });
});

describe("a queue class refuses", () => {
  const Model = Loose(
    { name: "m" },
    class Model {
      predict() {}
      _secret() {}
    },
  );

  test("constructor arguments, and to be called", () => {
    refused(
      () => new Model("weights"),
      "'Model' takes no constructor arguments: each worker creates it once, without any.",
    );
    refused(() => Model(), "Class 'Model' cannot be called without 'new'");
  });

  test("private methods, on the class and on instances", () => {
    refused(() => Model._secret(), "'Model' object has no attribute '_secret'");
    refused(() => new Model()._secret(), "'Model' object has no attribute '_secret'");
  });
});

describe("remote refuses", () => {
  const api = () => new LiveLoadBalancer({ name: "a" });

  test("routes without method or path", () => {
    refused(
      () => looseRemote(api(), { method: "POST" }, fn),
      "LoadBalancerSlsResource requires both 'method' and 'path' parameters. Got method=POST, path=undefined.",
    );
    refused(
      () => looseRemote(api(), fn),
      "LoadBalancerSlsResource requires both 'method' and 'path' parameters. Got method=undefined, path=undefined.",
    );
    refused(
      () => looseRemote(api(), { path: "/x" }),
      "LoadBalancerSlsResource requires both 'method' and 'path' parameters. Got method=undefined, path=/x.",
    );
  });

  test("wrong methods, and takes right ones in any case", () => {
    refused(
      // @ts-expect-error -- the compiler finds it as well
      () => remote(api(), { method: "PTACH", path: "/x" }, fn),
      "Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH",
    );
    for (const method of ["POST", "post", "Post"] as const)
      remote(api(), { method, path: "/x" }, fn);
  });

  test("wrong and reserved paths", () => {
    refused(
      // @ts-expect-error -- the compiler finds it as well
      () => remote(api(), { method: "GET", path: "api/x" }, fn),
      "path must start with '/', got: api/x",
    );
    for (const path of ["/ping", "/execute", "/ping/"] as const) {
      assert.throws(
        () => remote(api(), { method: "GET", path }, fn),
        /is reserved by the framework\. reserved paths: \/execute, \/ping$/,
      );
    }
  });

  test("the same route twice on one resource", () => {
    const resource = api();
    remote(resource, { method: "POST", path: "/api/process" }, function one() {});
    refused(
      () => remote(resource, { method: "post", path: "/api/process/" }, function two() {}),
      "Route conflict detected: POST /api/process/ defined twice (by 'one' and 'two')",
    );
  });

  test("unknown keywords", () => {
    refused(
      () => looseRemote(api(), { method: "GET", path: "/x", dependecies: [] }, fn),
      "remote() got unknown keyword argument: 'dependecies' (Did you mean 'dependencies'?)",
    );
    refused(
      () => looseRemote(api(), { method: "GET", path: "/x", pathh: "/", zzzzzzzz: 1 }, fn),
      "remote() got unknown keyword arguments: 'pathh' (Did you mean 'path'?), 'zzzzzzzz'",
    );
  });

  test("what is no resource, no code, or a class as a route", () => {
    refused(() => looseRemote({}, fn), "remote() takes a resource such as LiveLoadBalancer first");
    refused(
      () => looseRemote(api(), { method: "GET", path: "/x" }, "code"),
      "remote() takes a function or class to run, got string",
    );
    refused(
      () =>
        looseRemote(
          api(),
          { method: "GET", path: "/x" },
          class Model {
            run() {}
          },
        ),
      "a class cannot be a route: 'Model' needs a queue resource",
    );
  });

  test("a second function of a queue resource", () => {
    const queue = new LiveServerless({ name: "q" });
    remote(queue, function one() {});
    refused(
      () => remote(queue, fn),
      "'q' already runs 'one'. a queue-based endpoint has exactly one function or class.",
    );
  });
});

describe("resources refuse", () => {
  const resource = (options: object) => new LoadBalancerSlsResource(options as Untyped);
  const invalid = (options: object, message: string) =>
    refused(() => resource({ name: "r", ...options }), message, "INVALID_OPTIONS");

  test("a URL given by hand", () => {
    invalid({ endpointUrl: "http://x" }, "endpointUrl cannot be given: it is set by deploy()");
  });

  test("unknown options, and no name", () => {
    invalid(
      { workersMaximum: 3 },
      "LoadBalancerSlsResource() got unknown option: 'workersMaximum' (Did you mean 'workersMax'?)",
    );
    refused(() => resource({}), "LoadBalancerSlsResource requires a name", "INVALID_OPTIONS");
    assert.throws(() => resource({ id: "abc" }), /got unknown option: 'id'/);
  });

  test("contradictions", () => {
    invalid(
      { workersMin: 3, workersMax: 1 },
      "workersMin (3) cannot be greater than workersMax (1)",
    );
    invalid(
      { image: "a", imageName: "b" },
      "'imageName' and 'image' set the same option. give one of them.",
    );
    invalid({ type: "QB" }, "LoadBalancerSlsResource type must be LB, got QB");
    invalid(
      { gpus: ["any"], instanceIds: [CpuInstanceType.CPU3C_1_2] },
      "gpu and cpu are mutually exclusive. specify one or neither.",
    );
    invalid(
      { scalerType: "QUEUE_DELAY" },
      "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. Load-balanced endpoints don't support queue-based scaling.",
    );
  });

  test("a queue resource without any image; load-balanced ones need none", () => {
    refused(
      () => new ServerlessEndpoint({ name: "q" }),
      "Either imageName, template, or templateId must be provided",
    );
    void new ServerlessEndpoint({ name: "q", templateId: "t" });
    void new ServerlessEndpoint({ name: "q", imageName: "i" });
    resource({ name: "r" });
  });

  test("to say a URL before deploy()", () => {
    const error = refused(
      () => resource({ name: "r" }).endpointUrl,
      "Endpoint URL not available - endpoint may not be deployed",
      "NOT_DEPLOYED",
    );
    assert.match(error.hint ?? "", /await resource\.deploy\(\)/);
    assert.equal(resource({ name: "r" }).id, undefined);
  });
});

describe("parts of the options refuse", () => {
  test("a volume without name or id, of a wrong size, or with an unknown field", () => {
    refused(
      () => new NetworkVolume({}),
      "either 'name' or 'id' must be provided",
      "INVALID_OPTIONS",
    );
    refused(
      () => new NetworkVolume({ name: "v", size: 5 }),
      "size must be a whole number of GB from 10 to 4096, got 5",
      "INVALID_OPTIONS",
    );
    refused(
      () => new NetworkVolume({ name: "v", sise: 5 } as Untyped),
      "NetworkVolume() got unknown option: 'sise' (Did you mean 'size'?)",
      "INVALID_OPTIONS",
    );
  });

  test("an unknown template field, and keep what is known", () => {
    refused(
      () => new PodTemplate({ containerDisk: 5 } as Untyped),
      "PodTemplate() got unknown option: 'containerDisk' (Did you mean 'containerDiskInGb'?)",
      "INVALID_OPTIONS",
    );
    assert.equal(
      JSON.stringify(new PodTemplate({ containerDiskInGb: 20 })),
      '{"containerDiskInGb":20}',
    );
    assert.deepEqual(JSON.stringify(new NetworkVolume({ name: "v" })), '{"name":"v"}');
  });
});
