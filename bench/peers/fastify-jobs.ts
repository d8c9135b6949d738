/**
 * The ceiling of this set-up: Fastify that computes in process, without any queue. It keeps nothing, so
 * it is no peer; it says what HTTP alone costs.
 */

import Fastify from "fastify";

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
app.post<{ Body: Body }>("/run", { schema }, async () => {
  return await Promise.resolve({ id: crypto.randomUUID(), status: "IN_QUEUE" });
});
app.post<{ Body: Body }>("/runsync", { schema }, async ({ body: { input } }) => {
  const output = await Promise.resolve({ result: input.x + input.y });
  return { id: crypto.randomUUID(), status: "COMPLETED", output };
});
await app.listen({ port: Number(process.env["PORT"]), host: "127.0.0.1" });
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
