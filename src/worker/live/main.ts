/**
 * The program of a live worker: the `worker.mjs` of what `flash run --remote` deploys, and of nothing
 * else. It has `GET /ping` and `POST /execute`.
 */

import type { EndpointDeclaration } from "../../contract/registry.ts";
import { EXECUTE_PATH } from "../../contract/live.ts";
import { registry } from "../../contract/registry.ts";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import type { Served } from "../program.ts";
import { serveWorker } from "../serve.ts";
import { captureOutput } from "./output.ts";
import { LiveExecutor } from "./executor.ts";

let executor: LiveExecutor | undefined;

await serveWorker({
  env: process.env,
  runtimeUrl: import.meta.url,
  declarations: executeRoute,
  onEnd: async () => executor?.close(),
});

/** The one route, in the form in which user code declares its own. */
function executeRoute(served: Served): Promise<EndpointDeclaration[]> {
  registry().mode = "live";
  // After the worker has begun to tag its lines: callers hear what the function wrote, not the tags.
  captureOutput();
  const running = new LiveExecutor(served, process.env[WORKER_ENV.apiKey] ?? "");
  executor = running;
  const handler = (request: Request): Promise<Response> => running.answer(request);
  const declaration: EndpointDeclaration = {
    name: served.endpoint.name,
    kind: "lb",
    options: {},
    resource: served.endpoint.resource,
    live: true,
    target: undefined,
    targetSite: undefined,
    routes: [{ method: "POST", path: EXECUTE_PATH, handler, site: "" }],
    site: "",
  };
  return Promise.resolve([declaration]);
}
