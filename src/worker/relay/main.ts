/**
 * The program of a worker under `flash run --remote` whose endpoint is live: it binds, validates and
 * answers as every worker, and has the functions run on a live worker. Travels in no artifact.
 */

import { isMainThread, workerData } from "node:worker_threads";
import { isHeartbeat, runHeartbeat } from "../queue/heartbeat.ts";
import { serveWorker } from "../serve.ts";
import { relayed } from "./relay.ts";

if (!isMainThread && isHeartbeat(workerData)) runHeartbeat();
else {
  await serveWorker({ env: process.env, runtimeUrl: import.meta.url, declarations: relayed });
}
