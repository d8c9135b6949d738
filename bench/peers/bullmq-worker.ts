/** The worker process of the BullMQ stack, ten jobs at once. */

import { Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env["REDIS_PORT"]) };
const worker = new Worker<{ x: number; y: number }>(
  "bench",
  async (job) => await Promise.resolve({ result: job.data.x + job.data.y }),
  { connection, concurrency: 10 },
);
await worker.waitUntilReady();
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
