/** Fastify with its own validation and serialisation. */

import Fastify from "fastify";

const app = Fastify();
app.post<{ Body: { x: number; y: number } }>(
  "/api/process",
  {
    schema: {
      body: {
        type: "object",
        required: ["x", "y"],
        properties: { x: { type: "number" }, y: { type: "number" } },
      },
      response: { 200: { type: "object", properties: { result: { type: "number" } } } },
    },
  },
  (request) => ({ result: request.body.x + request.body.y }),
);
await app.listen({ port: Number(process.env["PORT"]), host: "127.0.0.1" });
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
