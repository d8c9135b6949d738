/** The program of a worker: `node worker.mjs`. Its heartbeat runs the same file as a thread. */

import { isMainThread, workerData } from "node:worker_threads";
import { WORKER_ENV } from "../contract/worker-env.ts";
import { beat, isHeartbeatData } from "./queue/heartbeat.ts";
import { serveWorker } from "./serve.ts";
import { standBy } from "./standby.ts";

if (!isMainThread && isHeartbeatData(workerData)) beat(workerData);
else if (process.env[WORKER_ENV.standby] !== undefined) await standBy(import.meta.url);
else await serveWorker({ env: process.env, runtimeUrl: import.meta.url });
