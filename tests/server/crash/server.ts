/**
 * A real server, made to be killed: strict store, worker processes, HTTP. Says `ready` when it serves.
 *
 *   node server.mjs <home> <port> [commitDelayMs]
 */

import { FlashServer, ProcessCompute, SqliteStore } from "../../../src/server/server.ts";

const [home = "", port = "0", commitDelayMs] = process.argv.slice(2);
const failpoints = commitDelayMs === undefined ? {} : { commitDelayMs: Number(commitDelayMs) };
await FlashServer.start({
  home,
  port: Number(port),
  store: new SqliteStore({ home, failpoints }),
  compute: new ProcessCompute({ home }),
  version: "0.0.0-test",
});
process.stdout.write("ready\n");
