/** The program of a worker: `node worker.mjs`. Its heartbeat runs the same file as a thread. */

import { isMainThread, workerData } from "node:worker_threads";
import { beat, isHeartbeatData } from "./queue/heartbeat.ts";
import { serveWorker } from "./serve.ts";

if (!isMainThread && isHeartbeatData(workerData)) beat(workerData);
else await serveWorker({ env: process.env, runtimeUrl: import.meta.url });
