/** Types of the SDK's surface. Nothing here runs: `tsc` is the test. */

import {
  CpuInstanceType,
  Endpoint,
  GpuType,
  LiveLoadBalancer,
  LiveServerless,
  LoadBalancerSlsResource,
  context,
  remote,
  type EndpointJob,
  type QueueFunction,
} from "../../src/sdk/sdk.ts";

// oxlint-disable typescript/no-unnecessary-type-parameters -- the one way to compare two types
type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_equal: Equal<A, B>): void {}

export async function queueFunctions(): Promise<void> {
  const analyze = Endpoint(
    { name: "analyze", gpu: GpuType.NVIDIA_L4, workers: [0, 3] },
    async (text: string, depth = 2) => ({ score: text.length, depth }),
  );
  const result = await analyze("hello");
  same<typeof result, { score: number; depth: number }>(true);
  same<Parameters<typeof analyze>, [text: string, depth?: number | undefined]>(true);
  await analyze("hello", 3);
  // @ts-expect-error -- the first argument is required
  await analyze();
  // @ts-expect-error -- it is a string
  await analyze(1);
  // @ts-expect-error -- there are only two
  await analyze("a", 1, 2);

  const job = await analyze.run("hello", 3);
  same<typeof job, EndpointJob<{ score: number; depth: number }>>(true);
  same<Awaited<ReturnType<typeof job.result>>, { score: number; depth: number }>(true);
  await analyze.with({ timeoutMs: 1000 })("hello");
  // @ts-expect-error -- run takes the function's own arguments
  await analyze.run(1);
  // @ts-expect-error -- only generators stream
  analyze.stream("hello");

  const plain = Endpoint({ name: "plain" }, (x: number) => x);
  same<Awaited<ReturnType<typeof plain>>, number>(true);
  const curried = Endpoint({ name: "curried" })((x: number) => x);
  same<typeof curried, QueueFunction<(x: number) => number>>(true);
  same<Awaited<ReturnType<typeof curried>>, number>(true);
}

export async function streams(): Promise<void> {
  const count = Endpoint({ name: "count" }, async function* (to: number) {
    for (let n = 0; n < to; n++) yield `${n}`;
  });
  const all = await count(3);
  same<typeof all, string[]>(true);
  for await (const chunk of count.stream(3)) same<typeof chunk, string>(true);
  const job = await count.run(3);
  for await (const chunk of job.stream()) same<typeof chunk, string>(true);
}

export async function responses(): Promise<void> {
  const api = Endpoint({ name: "api" });
  const plain = api.get("/a", () => new Response("a"));
  same<ReturnType<typeof plain>, Promise<Response>>(true);
  const either = api.get("/b", async (x: number) => (x > 0 ? { x } : new Response("no")));
  same<ReturnType<typeof either>, Promise<Response | { x: number }>>(true);
}

export async function classes(): Promise<void> {
  const Model = Endpoint(
    { name: "model" },
    class {
      static readonly version = "1";
      weights: number[] = [];
      async init(): Promise<void> {
        this.weights = [1];
      }
      async predict(prompt: string): Promise<{ text: string }> {
        return { text: this._clean(prompt) };
      }
      size(): number {
        return this.weights.length;
      }
      async *tokens(prompt: string) {
        yield* prompt.split(" ");
      }
      _clean(prompt: string): string {
        return prompt.trim();
      }
    },
  );
  const model = new Model();
  same<Awaited<ReturnType<typeof model.predict>>, { text: string }>(true);
  same<Awaited<ReturnType<typeof Model.size>>, number>(true);
  same<Awaited<ReturnType<typeof Model.tokens>>, string[]>(true);
  for await (const token of Model.tokens.stream("a b")) same<typeof token, string>(true);
  await Model.predict.run("x");
  same<typeof Model.version, "1">(true);
  // @ts-expect-error -- a worker creates it without arguments
  void new Model("weights");
  // @ts-expect-error -- private
  await Model._clean("x");
  // @ts-expect-error -- a hook, not a method to call
  await model.init();
  // @ts-expect-error -- fields stay with the worker
  void model.weights;
  // @ts-expect-error -- the argument is a string
  await model.predict(5);
}

@Endpoint({ name: "decorated" })
export class Decorated {
  async predict(prompt: string): Promise<string> {
    return prompt;
  }
}

export async function routes(): Promise<void> {
  const api = Endpoint({ name: "user-service", cpu: "cpu5c-4-8", workers: [1, 5] });
  const listUsers = api.get("/users", () => ({ users: ["a"] }));
  same<ReturnType<typeof listUsers>, Promise<{ users: string[] }>>(true);
  const createUser = api.post("/users", async (name: string, email: string) => ({ name, email }));
  same<Parameters<typeof createUser>, [name: string, email: string]>(true);
  await createUser.with({ signal: context().signal })("a", "b");
  const getUser = api.get("/users/{user_id}")((user_id: number) => ({ id: user_id }));
  same<Awaited<ReturnType<typeof getUser>>, { id: number }>(true);
  api.route("patch", "/users", (name: string) => name);
  // @ts-expect-error -- a route needs a function
  api.get("/users", { page: 1 });
  // @ts-expect-error -- jobs are for queue endpoints and clients
  api.runsync({});
}

export async function options(): Promise<void> {
  Endpoint("by-name");
  Endpoint({ name: "x", cpu: [CpuInstanceType.CPU3G_2_8, "cpu5c-1-2"], gpuCount: 1 });
  // @ts-expect-error -- no such option
  Endpoint({ name: "x", worker: 3 });
  // @ts-expect-error -- no such instance
  Endpoint({ name: "x", cpu: "cpu9-1-1" });
  // @ts-expect-error -- a pair
  Endpoint({ name: "x", workers: [1, 2, 3] });
}

export async function clients(): Promise<void> {
  const existing = new Endpoint({ id: "abc123" });
  const job = await existing.runsync<{ text: string }>({ prompt: "hi" }, { timeoutMs: 1000 });
  same<typeof job.output, { text: string } | undefined>(true);
  const vllm = Endpoint({ name: "vllm", image: "vllm/vllm-openai:latest" });
  const models = await vllm.get("/v1/models");
  same<typeof models, unknown>(true);
  const typed = await vllm.post<{ id: string }>(
    "/v1/completions",
    { prompt: "hi" },
    { query: { n: 1 } },
  );
  same<typeof typed, { id: string }>(true);
  const raw = await vllm.get("/v1/models", undefined, { raw: true });
  same<typeof raw, Response>(true);
  // @ts-expect-error -- a client is no decorator
  vllm((x: number) => x);
}

export async function olderSurface(): Promise<void> {
  const live = new LiveLoadBalancer({ name: "user-service" });
  // A synchronous function stays one: seed 004 calls it without waiting.
  const listUsers = remote(live, { method: "GET", path: "/users" }, () => ({ users: [1] }));
  same<ReturnType<typeof listUsers>, { users: number[] }>(true);
  const createUser = remote(live, { method: "POST", path: "/users" })(async (name: string) => name);
  same<ReturnType<typeof createUser>, Promise<string>>(true);

  const production = new LoadBalancerSlsResource({ name: "p", imageName: "i", workersMax: 3 });
  const getUser = remote(production, { method: "GET", path: "/u/{id}" }, (id: number) => ({ id }));
  same<ReturnType<typeof getUser>, Promise<{ id: number }>>(true);
  const url: string = (await production.deploy({ waitForReady: true })).endpointUrl;
  same<typeof url, string>(true);
  // @ts-expect-error -- it is set by deploy()
  production.endpointUrl = "http://x";
  // @ts-expect-error -- and cannot be given
  void new LoadBalancerSlsResource({ name: "p", endpointUrl: "http://x" });
  // @ts-expect-error -- method and path are required
  remote(production, {}, () => 1);
  // @ts-expect-error -- no such option
  remote(production, { method: "GET", path: "/x", pathh: "/y" }, () => 1);
  // @ts-expect-error -- no such method
  remote(production, { method: "PTACH", path: "/x" }, () => 1);
  // @ts-expect-error -- it starts with a slash
  remote(live, { method: "patch", path: "x" }, () => 1);
  // @ts-expect-error -- a route is a function
  remote(production, { method: "GET", path: "/x" }, Map);
  const prefix = "/api";
  remote(live, { method: "Patch", path: `${prefix}/x` }, () => 1);
  // The seeds' advice: one of them for production, the other for development.
  const either = remote(
    Math.random() < 0.5 ? live : production,
    { method: "GET", path: "/n" },
    async (n: number) => n,
  );
  same<ReturnType<typeof either>, Promise<number>>(true);

  const queue = new LiveServerless({ name: "q" });
  const work = remote(queue, (x: number) => x);
  same<ReturnType<typeof work>, Promise<number>>(true);
  const Worker = remote(
    queue,
    { dependencies: ["sharp"] },
    class {
      async run(x: number) {
        return x;
      }
    },
  );
  same<Awaited<ReturnType<typeof Worker.run>>, number>(true);
}
