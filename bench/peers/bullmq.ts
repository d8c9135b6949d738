/** Fastify in front of BullMQ: POST /run answers the id, POST /runsync waits for the result. */

import Fastify from "fastify";
import { Redis } from "ioredis";
import { Queue, QueueEvents } from "bullmq";

const connect = (): Redis =>
  new Redis(Number(process.env["REDIS_PORT"]), "127.0.0.1", { maxRetriesPerRequest: null });
const queue = new Queue("bench", {
  connection: connect(),
  defaultJobOptions: { removeOnComplete: { count: 10_000 } },
});
const events = new QueueEvents("bench", { connection: connect() });
await events.waitUntilReady();
events.setMaxListeners(0);
queue.setMaxListeners(0);
const app = Fastify();
const schema = {
  body: {
    type: "object",
    required: ["input"],
    properties: {
      input: {
        type: "object",
        required: ["x", "y"],
        properties: { x: { type: "number" }, y: { type: "number" } },
      },
    },
  },
};
interface Body {
  input: { x: number; y: number };
}
app.post<{ Body: Body }>("/run", { schema }, async (request) => {
  const job = await queue.add("job", request.body.input);
  return { id: job.id, status: "IN_QUEUE" };
});
app.post<{ Body: Body }>("/runsync", { schema }, async (request) => {
  const job = await queue.add("job", request.body.input);
  const output: unknown = await job.waitUntilFinished(events);
  return { id: job.id, status: "COMPLETED", output };
});
await app.listen({ port: Number(process.env["PORT"]), host: "127.0.0.1" });
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
