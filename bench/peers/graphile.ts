/** Fastify in front of graphile-worker. The result comes back through a table and NOTIFY. */

import Fastify from "fastify";
import pg from "pg";
import { makeWorkerUtils } from "graphile-worker";

const connectionString = process.env["DATABASE_URL"] ?? "";
const utils = await makeWorkerUtils({ connectionString });
await utils.migrate();
const pool = new pg.Pool({ connectionString, max: 10 });
await pool.query("create table if not exists results (id text primary key, output jsonb)");
const listener = new pg.Client({ connectionString });
await listener.connect();
await listener.query("listen done");
const waiting = new Map<string, (output: string) => void>();
listener.on("notification", ({ payload = "" }) => {
  const split = payload.indexOf(" ");
  const id = payload.slice(0, split);
  waiting.get(id)?.(payload.slice(split + 1));
  waiting.delete(id);
});
const app = Fastify();
interface Body {
  input: { x: number; y: number };
}
app.post<{ Body: Body }>("/run", async (request) => {
  const id = crypto.randomUUID();
  await utils.addJob("bench", { id, ...request.body.input });
  return { id, status: "IN_QUEUE" };
});
app.post<{ Body: Body }>("/runsync", async (request) => {
  const id = crypto.randomUUID();
  const done = new Promise<string>((resolve) => waiting.set(id, resolve));
  await utils.addJob("bench", { id, ...request.body.input });
  return { id, status: "COMPLETED", output: JSON.parse(await done) as unknown };
});
await app.listen({ port: Number(process.env["PORT"]), host: "127.0.0.1" });
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
