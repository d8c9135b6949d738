/**
 * A standby: a worker process that has booted and waits to be told which worker it is. It loads all of
 * the runtime and lets it handle one request of its own, so that what remains of a cold start is the
 * import of the user's code. It is used once: one endpoint's environment never meets another's.
 *
 *   server → standby   {"type":"assign","env":{…}}   the whole environment of the worker to be
 *   standby → server   {"type":"standby"}            booted, waiting
 */

import http from "node:http";
import { once } from "node:events";
import { WORKER_ENV } from "../contract/worker-env.ts";
import { serveWorker } from "./serve.ts";

/** Waits for an assignment and serves it. Ends with the server's channel. */
export async function standBy(runtimeUrl: string): Promise<void> {
  const assigned = assignment();
  // A server that ends, or that no longer needs a standby, closes the channel.
  const leave = (): never => process.exit(0);
  process.on("disconnect", leave);
  process.setSourceMapsEnabled(true);
  await Promise.all([
    import("./routes/route-server.ts"),
    import("./queue/queue-loop.ts"),
    import("./queue/protocol.ts"),
    import("./queue/target.ts"),
    import("./queue/heartbeat.ts"),
    warmUp(process.env[WORKER_ENV.standby] ?? ""),
  ]);
  process.title = "flash-standby";
  process.send?.({ type: "standby" });
  const env = await assigned;
  process.off("disconnect", leave);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  await serveWorker({ env: process.env, runtimeUrl });
}

function assignment(): Promise<Record<string, string>> {
  return new Promise((resolve) => {
    const onMessage = (message: unknown): void => {
      const { type, env } = (message ?? {}) as { type?: unknown; env?: Record<string, string> };
      if (type !== "assign" || env === undefined) return;
      process.off("message", onMessage);
      resolve(env);
    };
    process.on("message", onMessage);
  });
}

/** The first request of a process costs several times the later ones: this is that request. */
async function warmUp(socketPath: string): Promise<void> {
  const server = http.createServer((request, response) => {
    request.resume();
    response.setHeader("content-type", "application/json");
    response.end("{}");
  });
  server.listen(socketPath);
  await once(server, "listening");
  const request = http.request({ socketPath, method: "POST", path: "/", agent: false });
  request.end("{}");
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.resume();
  await once(response, "end");
  server.close();
  await once(server, "close");
}
