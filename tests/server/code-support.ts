/** Deployed functions: TypeScript, bundled with its map, in the real worker program. */

import { build } from "esbuild";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import type { JobFacts } from "../../src/contract/job-failure.ts";
import type { EndpointDocument } from "../../src/contract/control.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import type { EndpointOptions } from "../../src/contract/options.ts";
import { ROOT, temporaryFolder, writeFiles, type Owner } from "../support/temp.ts";
import { PRELUDE, parameter, routeOf, signature } from "../worker/artifact.ts";
import { manifestOf, pack, type ArtifactFile, type TestServer } from "./server-support.ts";

export interface CodeEndpoint {
  name: string;
  options?: Omit<EndpointOptions, "name">;
  /** `GET /path`: it is load-balanced. */
  routes?: readonly string[];
  /** `queue(handler)` and `route(method, path, handler)` declare; these and `context` are there already. Line 1 is its first line. */
  code: string;
}

/** The worker program, bundled as the build does it. */
async function bundleRuntime(folder: string): Promise<Buffer> {
  const outfile = path.join(folder, "worker.mjs");
  await build({
    entryPoints: [path.join(ROOT, "src", "worker", "main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node22",
    logLevel: "error",
  });
  return readFileSync(outfile);
}

async function bundleCode(folder: string, { name, code }: CodeEndpoint): Promise<ArtifactFile[]> {
  const project = path.join(folder, name);
  // An import in front of the code would move its lines.
  writeFiles(project, {
    "src/prelude.js": `${PRELUDE}\nexport { queue, context, route };`,
    [`src/${name}.ts`]: `import { queue, context, route } from "./prelude.js"; ${code}`,
  });
  const outfile = path.join(project, "index.mjs");
  await build({
    entryPoints: [path.join(project, "src", `${name}.ts`)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    sourcemap: "linked",
    logLevel: "error",
  });
  return ["index.mjs", "index.mjs.map"].map((file) => ({
    target: `endpoints/${name}/${file}`,
    content: readFileSync(path.join(project, file)),
  }));
}

/** Deploys functions of one object parameter, by name. */
export async function deployCode(
  owner: Owner,
  server: TestServer,
  endpoints: readonly CodeEndpoint[],
  { wrapsInput = true } = {},
): Promise<Map<string, EndpointDocument>> {
  const folder = temporaryFolder(owner, "flash-code");
  const manifest = manifestOf(
    "code",
    endpoints.map(({ name, options = {}, routes }) => ({
      name,
      kind: routes === undefined ? ("qb" as const) : ("lb" as const),
      options,
    })),
  );
  for (const endpoint of manifest.endpoints) {
    const routes = endpoints.find(({ name }) => name === endpoint.name)?.routes;
    const input = parameter("input");
    // A parameter of an object type is the whole input.
    if (!wrapsInput) input.schema = { type: "object" };
    endpoint.functions = routes?.map((route) => routeOf(route)) ?? [
      signature(endpoint.name, [input]),
    ];
  }
  const bundles = await Promise.all(endpoints.map((endpoint) => bundleCode(folder, endpoint)));
  const artifact = await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifest) },
    { target: WORKER_FILE, content: await bundleRuntime(folder) },
    ...bundles.flat(),
  ]);
  const { control } = server.server;
  const { id } = await control.putBuild("code", Readable.from([artifact]));
  const deployed = await control.deploy({ app: "code", environment: "production", build: id });
  return new Map(deployed.endpoints.map((endpoint) => [endpoint.name, endpoint]));
}

export interface JobAnswer {
  flash?: JobFacts;
  id: string;
  status: string;
  output?: unknown;
  error?: string;
  retries?: number;
  executionTime?: number;
}

/** Jobs of one endpoint over HTTP. */
export class Queue {
  readonly #server: TestServer;
  readonly #url: string;

  constructor(server: TestServer, endpoint: EndpointDocument | undefined) {
    this.#server = server;
    this.#url = `/v2/${endpoint?.id}`;
  }

  async submit(input: unknown, more: Record<string, unknown> = {}): Promise<string> {
    const body = JSON.stringify({ input: { input }, ...more });
    const answer = await this.#server.request(`${this.#url}/run`, { method: "POST", body });
    if (answer.status !== 200) throw new Error(answer.text);
    return answer.json.id as string;
  }

  async status(id: string): Promise<JobAnswer> {
    const { json } = await this.#server.request(`${this.#url}/status/${id}`);
    return json as JobAnswer;
  }

  async list(status: string): Promise<JobAnswer[]> {
    const { json } = await this.#server.request(`${this.#url}/requests?status=${status}`);
    return json.requests as JobAnswer[];
  }

  /** Waits for the job's end. */
  async finished(id: string): Promise<JobAnswer> {
    const url = `${this.#url}/status-sync/${id}?wait=150000`;
    for (;;) {
      const job = (await this.#server.request(url)).json as JobAnswer;
      if (job.status !== "IN_QUEUE" && job.status !== "IN_PROGRESS") return job;
    }
  }

  /** Chunks of its stream that nobody has read yet. */
  async chunks(id: string): Promise<unknown[]> {
    const found: unknown[] = [];
    for (;;) {
      const { json } = await this.#server.request(`${this.#url}/stream/${id}?wait=0`);
      const chunks = (json as { stream?: { output: unknown }[] }).stream ?? [];
      if (chunks.length === 0) return found;
      found.push(...chunks.map(({ output }) => output));
    }
  }

  async cancel(id: string): Promise<void> {
    await this.#server.request(`${this.#url}/cancel/${id}`, { method: "POST" });
  }
}
