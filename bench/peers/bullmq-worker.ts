/** The worker process of the BullMQ stack, ten jobs at once. */

import { Redis } from "ioredis";
import { Worker } from "bullmq";

const connect = (): Redis =>
  new Redis(Number(process.env["REDIS_PORT"]), "127.0.0.1", { maxRetriesPerRequest: null });
const worker = new Worker<{ x: number; y: number }>(
  "bench",
  async (job) => await Promise.resolve({ result: job.data.x + job.data.y }),
  { connection: connect(), concurrency: 10 },
);
await worker.waitUntilReady();
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
