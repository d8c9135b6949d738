/** The program of a worker: `node worker.mjs`. Its heartbeat runs the same file as a thread. */

import { isMainThread, workerData } from "node:worker_threads";
import { WORKER_ENV } from "../contract/worker-env.ts";
import { isHeartbeat, runHeartbeat } from "./queue/heartbeat.ts";
import { serveWorker } from "./serve.ts";
import { standBy } from "./standby/standby.ts";

if (!isMainThread && isHeartbeat(workerData)) runHeartbeat();
else if (process.env[WORKER_ENV.standby] !== undefined) await standBy(import.meta.url);
else await serveWorker({ env: process.env, runtimeUrl: import.meta.url });
