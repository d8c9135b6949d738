/** The worker process of the graphile-worker stack, ten jobs at once. */

import { run } from "graphile-worker";

interface Payload {
  id: string;
  x: number;
  y: number;
}
await run({
  connectionString: process.env["DATABASE_URL"] ?? "",
  concurrency: 10,
  noHandleSignals: true,
  taskList: {
    bench: async (payload, { query }) => {
      const { id, x, y } = payload as Payload;
      const output = JSON.stringify({ result: x + y });
      await query("insert into results (id, output) values ($1, $2)", [id, output]);
      await query("select pg_notify('done', $1)", [`${id} ${output}`]);
    },
  },
});
console.log("ready");
process.on("SIGTERM", () => process.exit(0));
